/* A CUDA driver of events alone, on the host's clock: what cuda-bindings calls when it records an event. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SUCCESS = 0, INVALID_HANDLE = 400, NOT_FOUND = 500 };

struct event {
	double ms;
};

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

int cuInit(unsigned flags)
{
	return flags ? INVALID_HANDLE : SUCCESS;
}

int cuDriverGetVersion(int *version)
{
	*version = 13000;
	return SUCCESS;
}

int cuCtxGetCurrent(void **context)
{
	static int one;

	*context = &one;
	return SUCCESS;
}

int cuEventCreate(struct event **event, unsigned flags)
{
	(void)flags;
	*event = calloc(1, sizeof(**event));
	return *event ? SUCCESS : NOT_FOUND;
}

/* The stream's number tells that it came through: only 42 is a stream here. */
int cuEventRecord(struct event *event, void *stream)
{
	if ((uintptr_t)stream != 42)
		return INVALID_HANDLE;
	event->ms = now_ms();
	return SUCCESS;
}

int cuEventElapsedTime(float *ms, struct event *begin, struct event *end)
{
	if (begin->ms == 0 || end->ms == 0)
		return INVALID_HANDLE;
	*ms = (float)(end->ms - begin->ms);
	return SUCCESS;
}

int cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags, int *status)
{
	(void)version, (void)flags;
	*function = strncmp(name, "cu", 2) ? NULL : dlsym(RTLD_DEFAULT, name);
	if (!*function) {
		void *self = dlopen("libcuda.so.1", RTLD_NOLOAD | RTLD_LAZY);

		*function = self ? dlsym(self, name) : NULL;
	}
	if (status)
		*status = *function ? 0 : 1;
	return *function ? SUCCESS : NOT_FOUND;
}

int cuGetProcAddress(const char *name, void **function, int version, uint64_t flags)
{
	return cuGetProcAddress_v2(name, function, version, flags, NULL);
}
