/* SPDX-License-Identifier: Apache-2.0 */
/* error.c - words for our errors and the system's */
#include <string.h>

#include "sampler.h"

static const char *own_words(enum np_error err)
{
	/* No default: the compiler knows of one that has no words. */
	switch (err) {
	case NP_ENOTRING:
		return "not a tick ring";
	case NP_EVERSION:
		return "written by another version";
	case NP_ETRUNCATED:
		return "truncated: shorter than its header says";
	case NP_EHELD:
		return "already sampled by another process";
	case NP_ENOTTIMELINE:
		return "not a power timeline";
	case NP_EFORKED:
		return "a sampler cannot be used in a forked process";
	case NP_ECPU:
		return "the sampling thread cannot run on the CPU asked for";
	}
	return NULL;
}

const char *np_strerror(int err)
{
	int number = err < 0 ? -err : err;
	const char *own = own_words((enum np_error)number);

	if (!number)
		return "no error";
	return own ? own : strerror(number);
}
