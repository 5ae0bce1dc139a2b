/* SPDX-License-Identifier: Apache-2.0 */
/* nvml_read.c - asks NVML for one reading; may be called in the loop */
#include <errno.h>
#include <math.h>
#include <stddef.h>

#include "nvml.h"

enum { FIELD_AVERAGE = 185, FIELD_INSTANT = 186, TOTAL_POWER_SAMPLES = 0 };

/* nvmlValueType_t */
enum { TYPE_DOUBLE, TYPE_UINT, TYPE_ULONG, TYPE_ULONGLONG, TYPE_LONGLONG, TYPE_INT, TYPE_USHORT };

/* ---- Errors --------------------------------------------------------------------------------- */

int nvml_errno(int status)
{
	switch (status) {
	case NVML_SUCCESS:
		return 0;
	case NVML_NOT_SUPPORTED:
		return EOPNOTSUPP;
	case NVML_NO_PERMISSION:
	case NVML_OPERATING_SYSTEM:
		return EACCES;
	case NVML_NOT_FOUND:
	case NVML_NO_DATA:
		return ENODATA;
	case NVML_DRIVER_NOT_LOADED:
		return ENXIO;
	case NVML_TIMEOUT:
		return ETIMEDOUT;
	case NVML_FUNCTION_NOT_FOUND:
		return ENOSYS;
	case NVML_GPU_IS_LOST:
		return ENODEV;
	case NVML_RESET_REQUIRED:
		return ENOTRECOVERABLE;
	case NVML_IN_USE:
		return EBUSY;
	case NVML_MEMORY:
		return ENOMEM;
	default:
		return EIO;
	}
}

void *nvml_device(struct np_nvml *nvml, uint32_t gpu, int *status)
{
	void *device = atomic_load(&nvml->gpus[gpu].device);

	*status = device ? NVML_SUCCESS : atomic_load(&nvml->gpus[gpu].why);
	return device;
}

/* A handle of a GPU that is gone is not used again: a new one is asked for beside the loop. */
static int noted(struct np_nvml *nvml, uint32_t gpu, int status)
{
	if (status == NVML_GPU_IS_LOST) {
		atomic_store(&nvml->gpus[gpu].why, status);
		atomic_store(&nvml->gpus[gpu].device, NULL);
	}
	return status;
}

/* ---- Readings ------------------------------------------------------------------------------- */

static int64_t number_of(int type, const union nvml_number *number)
{
	switch (type) {
	case TYPE_DOUBLE:
		return llround(number->d);
	case TYPE_ULONG:
		return (int64_t)number->ul;
	case TYPE_ULONGLONG:
		return (int64_t)number->ull;
	case TYPE_LONGLONG:
		return number->sll;
	case TYPE_INT:
		return number->si;
	case TYPE_USHORT:
		return number->us;
	default:
		return number->ui;
	}
}

static void take_field(const struct nvml_field *field, int call_status, struct np_nvml_value *out, int *status)
{
	*status = call_status ? call_status : field->status;
	out->value = number_of(field->value_type, &field->value) * 1000;
	out->stamp_us = field->timestamp;
}

static int read_usage(struct np_nvml *nvml, void *device, struct np_nvml_value *out)
{
	unsigned int mw = 0;
	int status = nvml->call.usage(device, &mw);

	out->value = (int64_t)mw * 1000;
	out->stamp_us = 0;
	return status;
}

int nvml_read_fields(struct np_nvml *nvml, uint32_t gpu, struct np_nvml_value *instant, int *instant_status,
		     struct np_nvml_value *average, int *average_status)
{
	struct nvml_field fields[2] = { { .field_id = 0 } };
	bool by_field = average && nvml->gpus[gpu].has_average;
	int count = 0;
	int status;
	void *device = nvml_device(nvml, gpu, &status);

	if (!device)
		return status;
	if (instant)
		fields[count++].field_id = FIELD_INSTANT;
	if (by_field)
		fields[count++].field_id = FIELD_AVERAGE;
	if (count) {
		status = nvml->call.fields ? nvml->call.fields(device, count, fields) : NVML_FUNCTION_NOT_FOUND;
		if (instant)
			take_field(&fields[0], status, instant, instant_status);
		if (by_field)
			take_field(&fields[count - 1], status, average, average_status);
	}
	if (average && !by_field)
		*average_status = status = read_usage(nvml, device, average);
	return noted(nvml, gpu, status == NVML_GPU_IS_LOST ? status : NVML_SUCCESS);
}

int nvml_read_energy(struct np_nvml *nvml, uint32_t gpu, struct np_nvml_value *out)
{
	unsigned long long mj = 0;
	int status;
	void *device = nvml_device(nvml, gpu, &status);

	if (!device)
		return status;
	status = nvml->call.energy ? nvml->call.energy(device, &mj) : NVML_FUNCTION_NOT_FOUND;
	out->value = (int64_t)mj * 1000;
	out->stamp_us = 0;
	return noted(nvml, gpu, status);
}

/* In the order of their stamps; they come nearly so. */
static void sort(struct nvml_sample *samples, uint32_t count)
{
	for (uint32_t i = 1; i < count; i++) {
		struct nvml_sample moving = samples[i];
		uint32_t at = i;

		for (; at > 0 && samples[at - 1].timestamp > moving.timestamp; at--)
			samples[at] = samples[at - 1];
		samples[at] = moving;
	}
}

int nvml_read_samples(struct np_nvml *nvml, uint32_t gpu, uint64_t since_us, struct nvml_sample *samples, uint32_t *count)
{
	unsigned int got = NP_NVML_DEPTH;
	int type = TYPE_UINT;
	int status;
	void *device = nvml_device(nvml, gpu, &status);

	*count = 0;
	if (!device)
		return status;
	if (!nvml->call.samples)
		return NVML_FUNCTION_NOT_FOUND;
	status = nvml->call.samples(device, TOTAL_POWER_SAMPLES, since_us, &type, &got, samples);
	if (status == NVML_NOT_FOUND)
		return NVML_SUCCESS; /* none is newer */
	if (status)
		return noted(nvml, gpu, status);
	sort(samples, got);
	for (uint32_t i = 0; i < got; i++) {
		if (samples[i].timestamp <= since_us)
			continue; /* some drivers give what was seen again */
		samples[*count].timestamp = samples[i].timestamp;
		samples[(*count)++].value.sll = number_of(type, &samples[i].value) * 1000;
	}
	return NVML_SUCCESS;
}
