/* verify.c -- is the image what its documents say? */
#include "image/batch.h"
