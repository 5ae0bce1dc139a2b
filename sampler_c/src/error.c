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
	case NP_ENOLIBRARY:
		return "there is no such library, or it cannot be loaded";
	case NP_ENOTNVML:
		return "not NVML: it lacks functions that NVML has";
	case NP_ENVML:
		return "no error of NVML";
	}
	return NULL;
}

/* Of nvmlReturn_t; NULL: one that we do not know. */
static const char *nvml_words(int status)
{
	static const char *const words[] = {
		[1] = "NVML was not initialised",
		[2] = "NVML refused an argument",
		[3] = "not supported by this GPU",
		[4] = "no permission",
		[6] = "not found",
		[9] = "the NVIDIA driver is not loaded",
		[10] = "NVML took too long",
		[12] = "a library that NVML needs is missing",
		[13] = "this driver does not have the call",
		[15] = "the GPU is lost: it has fallen off the bus",
		[16] = "the GPU needs a reset",
		[17] = "the operating system does not let NVML at the GPU",
		[18] = "driver and NVML library are of different versions",
		[19] = "the GPU is in use",
		[20] = "NVML has no memory",
		[21] = "NVML has no data",
	};

	return status > 0 && status < (int)(sizeof(words) / sizeof(words[0])) ? words[status] : NULL;
}

const char *np_strerror(int err)
{
	int number = err < 0 ? -err : err;
	const char *own = own_words((enum np_error)number);

	if (!number)
		return "no error";
	if (number > NP_ENVML) {
		const char *words = nvml_words(number - NP_ENVML);

		return words ? words : "NVML reported an error of its own";
	}
	return own ? own : strerror(number);
}
