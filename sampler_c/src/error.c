/* SPDX-License-Identifier: Apache-2.0 */
/* error.c - words for our errors and the system's */
#include <string.h>

#include "sampler.h"

const char *np_strerror(int err)
{
	switch (err < 0 ? -err : err) {
	case 0:
		return "no error";
#define X(name, number, words) \
	case name:             \
		return words;
		NP_ERRORS(X)
#undef X
	default:
		return strerror(err < 0 ? -err : err);
	}
}
