/* SPDX-License-Identifier: Apache-2.0 */
/* test_draw.c - deviates are spread as they are said to be, and depend on seed and position alone; every error has its words */
#define _GNU_SOURCE
#include <errno.h>
#include <math.h>
#include <string.h>

#include "check.h"
#include "draw.h"
#include "sampler.h"

enum { COUNT = 1000000 };

static void test_deviates(void)
{
	static const double at[] = { 1, 2, 3, 3.4642 };
	/* Of the sum of four uniforms (Irwin 1927, Hall 1927); none lies beyond 2 * sqrt(3). */
	double beyond[4];
	double sum = 0, square = 0;
	uint64_t count[4] = { 0 };

	for (int k = 0; k < 4; k++) {
		double left = fmax(2 - at[k] / sqrt(3), 0);

		/* Twice the distribution function of the sum at 2 - x/sqrt(3), which is below 2. */
		beyond[k] = 2 * (pow(left, 4) - 4 * pow(fmax(left - 1, 0), 4)) / 24;
	}
	for (uint64_t i = 0; i < COUNT; i++) {
		double x = draw_deviate(7, i);

		sum += x;
		square += x * x;
		for (int k = 0; k < 4; k++)
			count[k] += fabs(x) > at[k];
	}
	CHECK(fabs(sum / COUNT) < 0.005);
	CHECK(fabs(square / COUNT - 1) < 0.01);
	/* Within five standard errors of a count. */
	for (int k = 0; k < 4; k++)
		CHECK(fabs((double)count[k] - beyond[k] * COUNT) <= 5 * sqrt(beyond[k] * COUNT));
	CHECK(draw_deviate(7, 5) == draw_deviate(7, 5) && draw_deviate(7, 5) != draw_deviate(8, 5));
}

static void test_words(void)
{
	static const int own[] = { NP_ENOTRING, NP_EVERSION, NP_ETRUNCATED, NP_EHELD, NP_ENOTTIMELINE, NP_EFORKED, NP_ECPU };

	CHECK(!strcmp(np_strerror(0), "no error"));
	CHECK(!strcmp(np_strerror(-EBUSY), strerror(EBUSY)) && !strcmp(np_strerror(EBUSY), strerror(EBUSY)));
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
		CHECK(strstr(np_strerror(-own[i]), "nknown") == NULL);
		CHECK(!strcmp(np_strerror(own[i]), np_strerror(-own[i])));
		for (size_t j = 0; j < i; j++)
			CHECK(strcmp(np_strerror(own[i]), np_strerror(own[j])) != 0);
	}
}

int main(void)
{
	test_deviates();
	test_words();
	puts("test_draw: ok");
	return 0;
}
