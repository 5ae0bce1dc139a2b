/* SPDX-License-Identifier: Apache-2.0 */
/* nvml.c - opens NVML at run time, and asks it for what is not read in the loop */
#define _GNU_SOURCE
#include "nvml.h"

#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { CLOCK_SM = 1, CLOCK_MEMORY = 2, TEMPERATURE_GPU = 0, EVENT_XID = 8 };

/* A stand-in has this symbol; NVIDIA's library does not. */
#define SIMULATED "neuralpower_simulated"

/* ---- Lifecycle ------------------------------------------------------------------------------ */

static const struct {
	const char *name;
	size_t offset;
	bool needed;
} symbols[] = {
	{ "nvmlInit_v2", offsetof(struct nvml_calls, init), true },
	{ "nvmlShutdown", offsetof(struct nvml_calls, shutdown), true },
	{ "nvmlSystemGetDriverVersion", offsetof(struct nvml_calls, driver), true },
	{ "nvmlDeviceGetCount_v2", offsetof(struct nvml_calls, count), true },
	{ "nvmlDeviceGetHandleByIndex_v2", offsetof(struct nvml_calls, handle), true },
	{ "nvmlDeviceGetName", offsetof(struct nvml_calls, name), true },
	{ "nvmlDeviceGetUUID", offsetof(struct nvml_calls, uuid), true },
	{ "nvmlDeviceGetPowerUsage", offsetof(struct nvml_calls, usage), true },
	{ "nvmlDeviceGetMigMode", offsetof(struct nvml_calls, mig), false },
	{ "nvmlDeviceIsMigDeviceHandle", offsetof(struct nvml_calls, slice), false },
	{ "nvmlDeviceGetFieldValues", offsetof(struct nvml_calls, fields), false },
	{ "nvmlDeviceGetTotalEnergyConsumption", offsetof(struct nvml_calls, energy), false },
	{ "nvmlDeviceGetSamples", offsetof(struct nvml_calls, samples), false },
	{ "nvmlDeviceGetClockInfo", offsetof(struct nvml_calls, clock), false },
	{ "nvmlDeviceGetTemperature", offsetof(struct nvml_calls, temperature), false },
	{ "nvmlDeviceGetCurrentClocksThrottleReasons", offsetof(struct nvml_calls, reasons), false },
	{ "nvmlDeviceGetEnforcedPowerLimit", offsetof(struct nvml_calls, limit), false },
	{ "nvmlEventSetCreate", offsetof(struct nvml_calls, events), false },
	{ "nvmlEventSetFree", offsetof(struct nvml_calls, events_free), false },
	{ "nvmlDeviceRegisterEvents", offsetof(struct nvml_calls, events_add), false },
	{ "nvmlEventSetWait_v2", offsetof(struct nvml_calls, events_wait), false },
};

static bool find_calls(struct np_nvml *nvml)
{
	for (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
		void *found = dlsym(nvml->library, symbols[i].name);

		if (!found && symbols[i].needed)
			return false;
		memcpy((char *)&nvml->call + symbols[i].offset, &found, sizeof(found));
	}
	nvml->simulated = dlsym(nvml->library, SIMULATED) != NULL;
	return true;
}

static int take_handle(struct np_nvml *nvml, uint32_t gpu)
{
	void *device = NULL;
	int status = nvml->call.handle(gpu, &device);

	atomic_store(&nvml->gpus[gpu].why, status);
	if (!status)
		atomic_store(&nvml->gpus[gpu].known, device);
	atomic_store(&nvml->gpus[gpu].device, status ? NULL : device);
	return status;
}

static void watch_events(struct np_nvml *nvml)
{
	if (!nvml->call.events || !nvml->call.events_free || !nvml->call.events_add || !nvml->call.events_wait)
		return;
	if (nvml->call.events(&nvml->events)) {
		nvml->events = NULL;
		return;
	}
	for (uint32_t i = 0; i < nvml->gpu_count; i++) {
		void *device = atomic_load(&nvml->gpus[i].device);

		if (device)
			nvml->call.events_add(device, EVENT_XID, nvml->events);
	}
}

static void find_gpus(struct np_nvml *nvml, unsigned int count)
{
	nvml->gpu_count = count < NP_NVML_GPUS ? count : NP_NVML_GPUS;
	for (uint32_t i = 0; i < nvml->gpu_count; i++) {
		struct np_nvml_value value;
		int ignored;
		int status = NVML_NOT_SUPPORTED;

		if (take_handle(nvml, i))
			continue;
		nvml->gpus[i].has_average = true;
		if (nvml->call.fields)
			ignored = nvml_read_fields(nvml, i, NULL, NULL, &value, &status);
		else
			ignored = NVML_FUNCTION_NOT_FOUND;
		nvml->gpus[i].has_average = !ignored && !status;
	}
}

static int start(struct np_nvml *nvml)
{
	unsigned int count = 0;
	int status = nvml->call.init();

	if (status)
		return -NP_ENVML - status;
	if (nvml->call.driver(nvml->driver, sizeof(nvml->driver)))
		strcpy(nvml->driver, "unknown");
	status = nvml->call.count(&count);
	if (status) {
		nvml->call.shutdown();
		return -NP_ENVML - status;
	}
	find_gpus(nvml, count);
	watch_events(nvml);
	return 0;
}

int np_nvml_open(const char *library, struct np_nvml **out)
{
	struct np_nvml *nvml = calloc(1, sizeof(*nvml));
	int err = 0;

	if (!nvml)
		return -ENOMEM;
	atomic_init(&nvml->holders, 1);
	nvml->library = dlopen(library, RTLD_NOW | RTLD_LOCAL);
	if (!nvml->library)
		err = -NP_ENOLIBRARY;
	else if (!find_calls(nvml))
		err = -NP_ENOTNVML;
	else
		err = start(nvml);
	if (err) {
		if (nvml->library)
			dlclose(nvml->library);
		free(nvml);
		return err;
	}
	*out = nvml;
	return 0;
}

void nvml_hold(struct np_nvml *nvml)
{
	atomic_fetch_add(&nvml->holders, 1);
}

void np_nvml_close(struct np_nvml *nvml)
{
	if (!nvml || atomic_fetch_sub(&nvml->holders, 1) > 1)
		return;
	if (nvml->events)
		nvml->call.events_free(nvml->events);
	nvml->call.shutdown();
	dlclose(nvml->library);
	free(nvml);
}

int nvml_revive(struct np_nvml *nvml)
{
	int back = 0;

	for (uint32_t i = 0; i < nvml->gpu_count; i++) {
		if (!atomic_load(&nvml->gpus[i].device) && !take_handle(nvml, i))
			back++;
	}
	return back;
}

/* ---- Beside the loop ------------------------------------------------------------------------ */

int np_nvml_count(const struct np_nvml *nvml)
{
	return (int)nvml->gpu_count;
}

int np_nvml_simulated(const struct np_nvml *nvml)
{
	return nvml->simulated;
}

const char *np_nvml_driver(const struct np_nvml *nvml)
{
	return nvml->driver;
}

int np_nvml_gpu(struct np_nvml *nvml, uint32_t gpu, struct np_nvml_gpu *out)
{
	unsigned int now = 0;
	unsigned int pending = 0;
	int status;
	void *device;

	if (gpu >= nvml->gpu_count)
		return -EINVAL;
	memset(out, 0, sizeof(*out));
	device = nvml_device(nvml, gpu, &status);
	if (device)
		status = nvml->call.name(device, out->name, sizeof(out->name));
	if (status)
		return -NP_ENVML - status;
	nvml->call.uuid(device, out->uuid, sizeof(out->uuid));
	if (nvml->call.mig && !nvml->call.mig(device, &now, &pending))
		out->mig = now != 0;
	if (nvml->call.slice && !nvml->call.slice(device, &now))
		out->slice = now != 0;
	return 0;
}

void np_nvml_conditions(struct np_nvml *nvml, uint32_t gpu, struct np_nvml_conditions *out)
{
	const struct nvml_calls *call = &nvml->call;
	unsigned long long reasons = 0;
	unsigned int number = 0;
	int status = NVML_NOT_FOUND;
	void *device = gpu < nvml->gpu_count ? nvml_device(nvml, gpu, &status) : NULL;

	*out = (struct np_nvml_conditions){ -1, -1, -1, -1, -1 };
	if (!device)
		return;
	if (call->clock && !call->clock(device, CLOCK_SM, &number))
		out->sm_mhz = (int32_t)number;
	if (call->clock && !call->clock(device, CLOCK_MEMORY, &number))
		out->memory_mhz = (int32_t)number;
	if (call->temperature && !call->temperature(device, TEMPERATURE_GPU, &number))
		out->temperature_c = (int32_t)number;
	if (call->limit && !call->limit(device, &number))
		out->limit_mw = number;
	if (call->reasons && !call->reasons(device, &reasons))
		out->reasons = (int64_t)reasons;
}

int np_nvml_read(struct np_nvml *nvml, uint32_t gpu, int32_t kind, struct np_nvml_value *out)
{
	struct np_nvml_value samples[NP_NVML_DEPTH];
	int status = NVML_SUCCESS;
	int err = 0;

	if (gpu >= nvml->gpu_count || kind < NP_NVML_INSTANT || kind > NP_NVML_SAMPLES)
		return -EINVAL;
	if (kind == NP_NVML_SAMPLES) {
		int count = np_nvml_samples(nvml, gpu, 0, samples);

		if (count > 0)
			*out = samples[count - 1];
		return count > 0 ? 0 : count < 0 ? count : -NP_ENVML - NVML_NO_DATA;
	}
	out->begin_ns = np_clock_monotonic(&np_system_clock);
	if (kind == NP_NVML_ENERGY)
		err = nvml_read_energy(nvml, gpu, out);
	else if (kind == NP_NVML_INSTANT)
		err = nvml_read_fields(nvml, gpu, out, &status, NULL, NULL);
	else
		err = nvml_read_fields(nvml, gpu, NULL, NULL, out, &status);
	out->end_ns = np_clock_monotonic(&np_system_clock);
	status = err ? err : status;
	return status ? -NP_ENVML - status : 0;
}

int np_nvml_samples(struct np_nvml *nvml, uint32_t gpu, uint64_t since_us, struct np_nvml_value *out)
{
	struct nvml_sample samples[NP_NVML_DEPTH];
	int64_t begin_ns = np_clock_monotonic(&np_system_clock);
	uint32_t count;
	int status;

	if (gpu >= nvml->gpu_count)
		return -EINVAL;
	status = nvml_read_samples(nvml, gpu, since_us, samples, &count);
	if (status)
		return -NP_ENVML - status;
	for (uint32_t i = 0; i < count; i++) {
		out[i] = (struct np_nvml_value){ .value = samples[i].value.sll,
						 .stamp_us = (int64_t)samples[i].timestamp,
						 .begin_ns = begin_ns,
						 .end_ns = np_clock_monotonic(&np_system_clock) };
	}
	return (int)count;
}

int np_nvml_xid(struct np_nvml *nvml, uint32_t *gpu, uint64_t *xid)
{
	struct nvml_event event = { .device = NULL };

	if (!nvml->events || nvml->call.events_wait(nvml->events, &event, 0) || event.type != EVENT_XID)
		return 0;
	*xid = event.data;
	for (*gpu = 0; *gpu + 1 < nvml->gpu_count; (*gpu)++) {
		if (atomic_load(&nvml->gpus[*gpu].known) == event.device)
			break;
	}
	return 1;
}
