#define SINTER_SAFETENSORS_IMPLEMENTATION
#include "core/safetensors.h"
