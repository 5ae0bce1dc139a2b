/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim/stdatomic.h - stands in for the compiler's: the ring's own source is compiled with it, unchanged
 *
 * A shared word is a plain word whose address is a name; every access to it is a call into the model.
 */
#ifndef MODEL_STDATOMIC_H
#define MODEL_STDATOMIC_H

#include <stdbool.h>

#include "model.h"

#define _Atomic
#define ATOMIC_LLONG_LOCK_FREE 2

/*
 * What a handle keeps for itself: its flags and how many hold it. One process's own, in no reader's
 * sight, and not part of the protocol.
 */
typedef bool atomic_bool;
typedef unsigned atomic_uint;
#define atomic_init(own, value) (*(own) = (value))
#define atomic_load(own) (*(own))
#define atomic_store(own, value) (*(own) = (value))
#define atomic_fetch_add(own, value) ((*(own) += (value)) - (value))
#define atomic_fetch_sub(own, value) ((*(own) -= (value)) + (value))

#define memory_order_relaxed MODEL_RELAXED
#define memory_order_acquire MODEL_ACQUIRE
#define memory_order_release MODEL_RELEASE

#define atomic_load_explicit(word, order) model_load(word, order)
#define atomic_store_explicit(word, value, order) protocol_store(word, value, order)

/* protocol.c: a store of the writer, unless it has been killed before. */
void protocol_store(uint64_t *word, uint64_t value, enum model_order order);

#endif
