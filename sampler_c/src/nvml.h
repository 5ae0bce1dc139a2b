/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nvml.h - libnvidia-ml.so.1 as far as it is needed here
 *
 * Its functions and structures are written down again, since NVIDIA's header is not everywhere where this is built. They have
 * been the same since driver 450; what came later is looked for and may be missing.
 */
#ifndef NP_NVML_H
#define NP_NVML_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "clock.h"
#include "sampler.h"

enum nvml_return {
	NVML_SUCCESS = 0,
	NVML_NOT_SUPPORTED = 3,
	NVML_NO_PERMISSION = 4,
	NVML_NOT_FOUND = 6,
	NVML_DRIVER_NOT_LOADED = 9,
	NVML_TIMEOUT = 10,
	NVML_FUNCTION_NOT_FOUND = 13,
	NVML_GPU_IS_LOST = 15,
	NVML_RESET_REQUIRED = 16,
	NVML_OPERATING_SYSTEM = 17,
	NVML_IN_USE = 19,
	NVML_MEMORY = 20,
	NVML_NO_DATA = 21
};

union nvml_number {
	double d;
	unsigned int ui;
	unsigned long ul;
	unsigned long long ull;
	long long sll;
	int si;
	unsigned short us;
};

struct nvml_field {
	unsigned int field_id;
	unsigned int scope_id;
	long long timestamp;	/* us */
	long long latency_us;
	int value_type;
	int status;		/* of this field */
	union nvml_number value;
};

struct nvml_sample {
	unsigned long long timestamp;	/* us */
	union nvml_number value;
};

struct nvml_event {
	void *device;
	unsigned long long type;
	unsigned long long data;
	unsigned int gpu_instance;
	unsigned int compute_instance;
};

_Static_assert(sizeof(struct nvml_field) == 40, "nvmlFieldValue_t");
_Static_assert(sizeof(struct nvml_sample) == 16, "nvmlSample_t");
_Static_assert(sizeof(struct nvml_event) == 32, "nvmlEventData_t");

/* What we call of it; NULL: this library does not have it. */
struct nvml_calls {
	int (*init)(void);
	int (*shutdown)(void);
	int (*driver)(char *text, unsigned int length);
	int (*count)(unsigned int *count);
	int (*handle)(unsigned int index, void **device);
	int (*name)(void *device, char *text, unsigned int length);
	int (*uuid)(void *device, char *text, unsigned int length);
	int (*mig)(void *device, unsigned int *now, unsigned int *pending);
	int (*slice)(void *device, unsigned int *is);
	int (*usage)(void *device, unsigned int *mw);
	int (*fields)(void *device, int count, struct nvml_field *fields);
	int (*energy)(void *device, unsigned long long *mj);
	int (*samples)(void *device, int type, unsigned long long since_us, int *value_type, unsigned int *count,
		       struct nvml_sample *samples);
	int (*clock)(void *device, int type, unsigned int *mhz);
	int (*temperature)(void *device, int sensor, unsigned int *celsius);
	int (*reasons)(void *device, unsigned long long *reasons);
	int (*limit)(void *device, unsigned int *mw);
	int (*events)(void **events);
	int (*events_free)(void *events);
	int (*events_add)(void *device, unsigned long long types, void *events);
	int (*events_wait)(void *events, struct nvml_event *event, unsigned int timeout_ms);
};

struct nvml_gpu {
	_Atomic(void *) device;	/* NULL: it has no handle, or has lost it */
	_Atomic(void *) known;	/* the last handle that it had: events name it */
	_Atomic int why;	/* nvmlReturn_t of that */
	bool has_average;	/* field 185 */
};

struct np_nvml {
	struct nvml_calls call;
	void *library;
	void *events;		/* NULL: it does not tell any */
	bool simulated;
	uint32_t gpu_count;
	char driver[96];
	struct nvml_gpu gpus[NP_NVML_GPUS];
	atomic_uint holders;
};

void nvml_hold(struct np_nvml *nvml);

/* The handle of a GPU, or NULL and in *status why. */
void *nvml_device(struct np_nvml *nvml, uint32_t gpu, int *status);

/* The errno that a reading has for what NVML returned. */
int nvml_errno(int status);

/* Nothing below allocates, opens or logs: it may be called in the loop. Each returns NVML's own number, 0 being good. */

/* Fields 186 and 185 at once; what is not wanted is left alone. */
int nvml_read_fields(struct np_nvml *nvml, uint32_t gpu, struct np_nvml_value *instant, int *instant_status,
		     struct np_nvml_value *average, int *average_status);
int nvml_read_energy(struct np_nvml *nvml, uint32_t gpu, struct np_nvml_value *out);
/* Readings after since_us, oldest first; samples is room for NP_NVML_DEPTH. *count: how many, none being no error. */
int nvml_read_samples(struct np_nvml *nvml, uint32_t gpu, uint64_t since_us, struct nvml_sample *samples, uint32_t *count);
/* Beside the loop: ask again for the handles of GPUs that are lost. Returns how many came back. */
int nvml_revive(struct np_nvml *nvml);

#endif
