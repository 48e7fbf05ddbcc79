#include "train/data/worlds_lists.h"

#include "core/random.h"

namespace sinter::worlds {
namespace {

using Words = std::string_view;

constexpr Words kPlaces[] = {"mill",       "barn",    "cellar",    "attic",    "tower",   "stable",  "garden",
                             "orchard",    "chapel",  "forge",     "bakery",   "harbour", "kitchen", "library",
                             "market",     "meadow",  "forest",    "cave",     "castle",  "inn",     "school",
                             "workshop",   "temple",  "quarry",    "vineyard", "granary", "dairy",   "field",
                             "valley",     "pantry",  "brewery",   "shed",     "loft",    "hut",     "boathouse",
                             "greenhouse", "hall",    "gatehouse", "tunnel",   "chamber", "cottage", "tavern",
                             "courtyard",  "parlour", "palace",    "theatre",  "camp",    "museum"};

constexpr Words kObjects[] = {
    "box",     "lamp",   "key",    "book",   "coin",  "ring",   "cup",      "drum",    "flute",   "basket", "blanket",
    "bell",    "candle", "chair",  "clock",  "comb",  "crown",  "doll",     "fan",     "feather", "flag",   "glove",
    "hat",     "helmet", "jar",    "kettle", "kite",  "knife",  "ladder",   "letter",  "map",     "mirror", "mug",
    "needle",  "pan",    "pillow", "pipe",   "plate", "pot",    "purse",    "ribbon",  "saddle",  "scarf",  "shell",
    "shield",  "shoe",   "spoon",  "stool",  "sword", "teapot", "vase",     "violin",  "wagon",   "wheel",  "whistle",
    "lantern", "bottle", "bucket", "button", "cloak", "mask",   "necklace", "trumpet", "carpet"};

constexpr Words kColours[] = {"red",   "blue", "green",  "yellow", "white",  "black",
                              "brown", "grey", "golden", "silver", "purple", "pink"};

constexpr Words kCountables[] = {"apples",  "pears",    "plums",   "nuts",     "eggs",     "coins",   "shells",
                                 "buttons", "beads",    "stones",  "cakes",    "loaves",   "carrots", "turnips",
                                 "onions",  "cherries", "candles", "pebbles",  "feathers", "stamps",  "ribbons",
                                 "acorns",  "figs",     "lemons",  "pies",     "roses",    "tulips",  "berries",
                                 "needles", "nails",    "bells",   "mushrooms"};

constexpr Words kFoods[] = {"bread",   "soup",    "stew",  "porridge", "rice",   "beans",    "pancakes", "dumplings",
                            "noodles", "sausage", "ham",   "trout",    "salmon", "pudding",  "custard",  "jam",
                            "gravy",   "cabbage", "leeks", "peas",     "garlic", "lentils",  "waffles",  "raisins",
                            "almonds", "ginger",  "mint",  "bacon",    "toast",  "crackers", "melon",    "radishes"};

constexpr Words kPetNames[] = {"Patch",   "Bramble", "Pepper", "Biscuit", "Smoky",  "Dusty",   "Clover", "Rusty",
                               "Shadow",  "Thistle", "Nutmeg", "Pickle",  "Sunny",  "Frosty",  "Pebble", "Whisker",
                               "Button",  "Ember",   "Hazel",  "Jumper",  "Mossy",  "Noodle",  "Ollie",  "Poppy",
                               "Quill",   "Rocket",  "Scout",  "Tansy",   "Velvet", "Waffle",  "Ziggy",  "Bouncer",
                               "Cricket", "Duffel",  "Fidget", "Gusty",   "Honey",  "Juniper", "Kipper", "Lucky"};

constexpr Words kDays[] = {"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"};
constexpr Words kMonths[] = {"January", "February", "March",     "April",   "May",      "June",
                             "July",    "August",   "September", "October", "November", "December"};
constexpr Words kWeathers[] = {"rainy", "sunny", "windy", "foggy", "snowy", "stormy", "cloudy", "frosty"};

constexpr Job kJobs[] = {
    {"mason", "stone", "chisel"},     {"baker", "flour", "oven"},       {"weaver", "wool", "loom"},
    {"tailor", "cloth", "scissors"},  {"smith", "iron", "anvil"},       {"potter", "clay", "kiln"},
    {"carpenter", "timber", "saw"},   {"cobbler", "leather", "awl"},    {"farmer", "wheat", "plough"},
    {"fisher", "trout", "net"},       {"painter", "colours", "brush"},  {"writer", "ink", "quill"},
    {"gardener", "flowers", "spade"}, {"jeweller", "gold", "tweezers"}, {"glazier", "glass", "cutter"},
    {"miner", "coal", "pickaxe"},     {"brewer", "hops", "barrel"},     {"miller", "grain", "millstone"},
    {"barber", "hair", "razor"},      {"shepherd", "sheep", "crook"},   {"cooper", "oak", "hoop"},
    {"tinker", "tin", "pliers"},      {"dyer", "indigo", "vat"},        {"printer", "paper", "press"},
    {"cook", "spices", "ladle"},      {"roofer", "slate", "ladder"},    {"sailor", "canvas", "compass"},
    {"healer", "herbs", "mortar"},    {"hatter", "felt", "steamer"},    {"beekeeper", "honey", "smoker"},
    {"chandler", "wax", "mould"},     {"fiddler", "strings", "bow"}};

constexpr Beast kBeasts[] = {
    {"dog", "puppy", "bones"},      {"cat", "kitten", "fish"},     {"cow", "calf", "grass"},
    {"sheep", "lamb", "clover"},    {"horse", "foal", "oats"},     {"pig", "piglet", "acorns"},
    {"goat", "kid", "leaves"},      {"duck", "duckling", "worms"}, {"hen", "chick", "corn"},
    {"goose", "gosling", "weeds"},  {"owl", "owlet", "mice"},      {"lion", "cub", "meat"},
    {"frog", "tadpole", "flies"},   {"swan", "cygnet", "reeds"},   {"deer", "fawn", "bark"},
    {"rabbit", "bunny", "carrots"}, {"donkey", "colt", "hay"},     {"pigeon", "squab", "seeds"},
    {"hare", "leveret", "herbs"},   {"fox", "whelp", "berries"}};

constexpr Pair kOpposites[] = {{"hot", "cold"},    {"big", "small"},   {"old", "young"},    {"wet", "dry"},
                               {"fast", "slow"},   {"high", "low"},    {"long", "short"},   {"hard", "soft"},
                               {"rich", "poor"},   {"early", "late"},  {"full", "empty"},   {"loud", "quiet"},
                               {"heavy", "light"}, {"open", "shut"},   {"sweet", "bitter"}, {"strong", "weak"},
                               {"clean", "dirty"}, {"brave", "timid"}, {"wide", "narrow"},  {"deep", "shallow"},
                               {"bright", "dim"},  {"sharp", "blunt"}, {"thick", "thin"},   {"near", "far"}};

constexpr Words kNameStarts[] = {"Al",  "Ben", "Cor", "Dar", "El",  "Fen", "Gal",  "Har", "Il",  "Jor",
                                 "Kel", "Lor", "Mar", "Nor", "Ol",  "Per", "Quin", "Ros", "Sel", "Tam",
                                 "Ul",  "Ver", "Wil", "Yor", "Zan", "Bri", "Cal",  "Del", "Fal", "Gwen",
                                 "Hel", "Jas", "Kar", "Lin", "Mel", "Nev", "Rav",  "Sor", "Tal", "Vin"};
constexpr Words kFemaleEnds[] = {"a", "ina", "ela", "ira", "essa", "ia", "anna", "ora", "ula", "ette", "ith", "ane"};
constexpr Words kMaleEnds[] = {"o", "ric", "mund", "an", "bert", "ador", "ian", "is", "ulf", "emar", "on", "us"};

constexpr Words kTownStarts[] = {"Vel", "Bran", "Os",   "Thorn", "Ash",  "Kirk", "Lang", "Stan",
                                 "Wes", "Hart", "Glen", "Mid",   "Cold", "Red",  "Win",  "Dun"};
constexpr Words kTownEnds[] = {"ford", "ham", "wick", "mere", "dale", "stead"};
constexpr Words kRivers[] = {"Esk", "Tarn", "Ouse",   "Wye",    "Nidd",   "Aire",  "Lune",   "Dart",
                             "Exe", "Tees", "Severn", "Trent",  "Yar",    "Avon",  "Stour",  "Brue",
                             "Cam", "Dove", "Eden",   "Medway", "Orwell", "Swale", "Thames", "Clyde"};
constexpr Words kTrades[] = {"salt",   "wool",   "honey",  "cheese",  "rope",   "glass", "iron",    "paper",
                             "linen",  "wine",   "butter", "leather", "copper", "silk",  "candles", "soap",
                             "pepper", "barley", "timber", "clay",    "ink",    "tea",   "sugar",   "oil"};

constexpr Words kNumbers[] = {"zero",     "one",     "two",     "three",     "four",     "five",     "six",
                              "seven",    "eight",   "nine",    "ten",       "eleven",   "twelve",   "thirteen",
                              "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"};

// A fixed draw per town: the same in every document and for every seed.
template <std::size_t N>
Words of_town(const Words (&list)[N], std::uint32_t town, std::uint32_t column) {
  return list[Rng{0x746F776Eu, column}.bits(town) % N];
}

}  // namespace

std::span<const Words> places() { return kPlaces; }
std::span<const Words> objects() { return kObjects; }
std::span<const Words> colours() { return kColours; }
std::span<const Words> countables() { return kCountables; }
std::span<const Words> foods() { return kFoods; }
std::span<const Words> pet_names() { return kPetNames; }
std::span<const Words> days() { return kDays; }
std::span<const Words> months() { return kMonths; }
std::span<const Words> weathers() { return kWeathers; }
std::span<const Job> jobs() { return kJobs; }
std::span<const Beast> beasts() { return kBeasts; }
std::span<const Pair> opposites() { return kOpposites; }

std::uint32_t person_names() { return std::uint32_t(std::size(kNameStarts) * std::size(kFemaleEnds)); }

std::string person_name(bool female, std::uint32_t index) {
  static_assert(std::size(kFemaleEnds) == std::size(kMaleEnds));
  const auto start = index / std::size(kFemaleEnds), end = index % std::size(kFemaleEnds);
  return std::string(kNameStarts[start]).append(female ? kFemaleEnds[end] : kMaleEnds[end]);
}

std::uint32_t town_count() { return std::uint32_t(std::size(kTownStarts) * std::size(kTownEnds)); }

std::string town_name(std::uint32_t town) {
  return std::string(kTownStarts[town / std::size(kTownEnds)]).append(kTownEnds[town % std::size(kTownEnds)]);
}

std::string_view town_river(std::uint32_t town) { return of_town(kRivers, town, 0); }
std::string_view town_trade(std::uint32_t town) { return of_town(kTrades, town, 1); }

std::string_view number_word(std::uint32_t n) { return kNumbers[n]; }

}  // namespace sinter::worlds
