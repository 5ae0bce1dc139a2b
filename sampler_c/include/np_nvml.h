/* SPDX-License-Identifier: Apache-2.0 */
/* np_nvml.h - power and energy of GPUs through NVML */
#ifndef NEURALPOWER_NVML_H
#define NEURALPOWER_NVML_H

#include <stdint.h>

#include "np_source.h"

/* cffi begin */

/*
 * NVIDIA's management library, opened at run time: nothing is linked with it. What it calls a device is a GPU here, by
 * its number. An instance may be used from any thread; a source made from it holds it until the source is freed.
 */
struct np_nvml;

/* What is read of a GPU. */
enum np_nvml_kind {
	NP_NVML_INSTANT = 0,	/* field 186, uW */
	NP_NVML_AVERAGE = 1,	/* field 185, or nvmlDeviceGetPowerUsage where there is none, uW */
	NP_NVML_ENERGY = 2,	/* nvmlDeviceGetTotalEnergyConsumption, uJ */
	NP_NVML_SAMPLES = 3	/* the ring of nvmlDeviceGetSamples, uW */
};

struct np_nvml_gpu {
	char name[96];
	char uuid[96];
	int32_t mig;		/* it is divided into slices; its power is that of all of them */
	int32_t slice;		/* it is such a slice */
};

struct np_nvml_value {
	int64_t value;
	int64_t stamp_us;	/* of the driver, on a clock that is not said; 0: there is none */
	int64_t begin_ns;	/* the call lay between these two */
	int64_t end_ns;
};

/* What is not told is -1. */
struct np_nvml_conditions {
	int32_t sm_mhz;
	int32_t memory_mhz;
	int32_t temperature_c;
	int64_t limit_mw;	/* enforced power limit */
	int64_t reasons;	/* why clocks are lower than they could be: bits of nvmlClocksThrottleReasons */
};

enum { NP_NVML_GPUS = 16, NP_NVML_DEPTH = 256 };

/* -NP_ENOLIBRARY: there is no such library; -NP_ENOTNVML: it lacks what is needed; -NP_ENVML - n: it does not start. */
int np_nvml_open(const char *library, struct np_nvml **out);
void np_nvml_close(struct np_nvml *nvml);

/* GPUs that there are; at most NP_NVML_GPUS are looked at. */
int np_nvml_count(const struct np_nvml *nvml);
/* The library is a stand-in: what it tells is simulated. */
int np_nvml_simulated(const struct np_nvml *nvml);
/* The driver's version; never NULL. */
const char *np_nvml_driver(const struct np_nvml *nvml);

int np_nvml_gpu(struct np_nvml *nvml, uint32_t gpu, struct np_nvml_gpu *out);
void np_nvml_conditions(struct np_nvml *nvml, uint32_t gpu, struct np_nvml_conditions *out);

/* One reading now; of the ring its newest. */
int np_nvml_read(struct np_nvml *nvml, uint32_t gpu, int32_t kind, struct np_nvml_value *out);
/* The ring's readings after since_us, oldest first, begin and end those of the call; room for NP_NVML_DEPTH. How many. */
int np_nvml_samples(struct np_nvml *nvml, uint32_t gpu, uint64_t since_us, struct np_nvml_value *out);
/* The next critical error that the driver has reported of a GPU since the last call: 1 and its XID; 0: there is none. */
int np_nvml_xid(struct np_nvml *nvml, uint32_t *gpu, uint64_t *xid);

struct np_nvml_channel {
	uint32_t gpu;
	int32_t kind;		/* enum np_nvml_kind */
	uint32_t every;		/* NVML is asked in every so many-th tick, 1 to 65535 */
	uint32_t again;		/* of a counter: ticks between two looks of a turn, 1 to 65535 */
	int32_t stamped;	/* of a field: its time stamps are those of the values, not of the calls */
};

/*
 * A tick has one reading of a ring: those that a call gave are played one a tick, so ticks must come faster than they.
 * A counter's turn goes on until it has changed from one look to the next: then it is known when it was renewed.
 * clock: which of the system's clocks the stamps are on, CLOCK_MONOTONIC, CLOCK_BOOTTIME or CLOCK_REALTIME; -1: none.
 * docs/nvml.md says what is known of a reading.
 */
int np_source_nvml(struct np_nvml *nvml, const struct np_nvml_channel *channels, uint32_t readings, int32_t clock,
		   struct np_source **out);

/* cffi end */

#endif
