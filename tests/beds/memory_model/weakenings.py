"""What is taken from the ring's protocol, one thing at a time, and whether that must break it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Weakening:
    """`edits` are (file, text that is there exactly once, what takes its place).

    `unneeded` is empty where a reader must be able to see the fault, else it argues why none can: then the search must find none.
    """

    name: str
    edits: tuple[tuple[str, str, str], ...]
    unneeded: str = ""


def _relaxed_store(file: str, word: str, value: str) -> tuple[str, str, str]:
    return (
        file,
        f"shared_store({word}, {value});",
        f"atomic_store_explicit({word}, {value}, memory_order_relaxed);",
    )


def _relaxed_load(before: str, word: str, after: str) -> tuple[str, str, str]:
    old = f"{before}shared_load({word}){after}"
    return ("ring_read.c", old, f"{before}atomic_load_explicit({word}, memory_order_relaxed){after}")


_CLEAR = "\tshared_store(tick + TICK_COMMIT, 0);\n"
_WORDS = "\tfor (uint64_t i = 1; i < ring->words; i++)\n\t\tshared_store(tick + i, words[i]);\n"
_COMMIT = "\tshared_store(tick + TICK_COMMIT, index + 1);\n"
_NEXT = "\tshared_store(&ring->header->next_index, index + 1);\n"
_FIRST_LOOK = "\tif (shared_load(tick + TICK_COMMIT) != index + 1)\n\t\treturn false;\n"
_SECOND_LOOK = "return shared_load(tick + TICK_COMMIT) == index + 1;"
_WHOLE_TICK = _CLEAR + _WORDS + _COMMIT + "\tring->next = index + 1;\n" + _NEXT
_FIND = "\twhile (shared_load(ring_tick(ring, next) + TICK_COMMIT) == next + 1)\n\t\tnext++;\n"

_RELAXED_COMMIT = _relaxed_store("ring.c", "tick + TICK_COMMIT", "index + 1")
_RELAXED_NEXT = _relaxed_store("ring.c", "&ring->header->next_index", "index + 1")
_RELAXED_FIRST_LOOK = _relaxed_load("if (", "tick + TICK_COMMIT", " != index + 1)")
_RELAXED_NEXT_LOAD = _relaxed_load("uint64_t next = ", "&ring->header->next_index", ";")
_RELAXED_INFO = _relaxed_load("out->next_index = ", "&header->next_index", ";")
_ANNOUNCED = "next_index, stored after it and loaded before it, brings the tick"
_LOOKED_AT = "the first look brings the tick; np_ring_info() synchronised with what it announced"
_FOLLOWED = "the words stored after it are released: whoever sees one of them sees it"
_DECIDES = "the words loaded before it (acquire) decide what it may give; nothing hangs on it after"


def _order(*parts: str) -> tuple[tuple[str, str, str], ...]:
    return (("ring.c", _WHOLE_TICK, "".join(parts) + "\tring->next = index + 1;\n"),)


WEAKENINGS = (
    Weakening("every access relaxed", (
        ("ring.h", "memory_order_acquire", "memory_order_relaxed"),
        ("ring.h", "memory_order_release", "memory_order_relaxed"),
    )),
    Weakening("every load relaxed", (("ring.h", "memory_order_acquire", "memory_order_relaxed"),)),
    Weakening("every store relaxed", (("ring.h", "memory_order_release", "memory_order_relaxed"),)),
    # The writer of a tick.
    Weakening("tick: commit not cleared", (("ring.c", _CLEAR, ""),)),
    Weakening("tick: commit cleared after the words", _order(_WORDS, _CLEAR, _COMMIT, _NEXT)),
    Weakening("tick: commit before the words", _order(_CLEAR, _COMMIT, _WORDS, _NEXT)),
    Weakening("tick: next_index before the commit", _order(_CLEAR, _WORDS, _NEXT, _COMMIT)),
    Weakening("tick: clearing relaxed", (_relaxed_store("ring.c", "tick + TICK_COMMIT", "0"),), _FOLLOWED),
    Weakening("tick: words relaxed", (_relaxed_store("ring.c", "tick + i", "words[i]"),)),
    Weakening("tick: only the last word released", (
        ("ring.c", "shared_store(tick + i, words[i]);",
         "atomic_store_explicit(tick + i, words[i], i + 1 < ring->words ? memory_order_relaxed : memory_order_release);"),
    )),
    Weakening("tick: commit relaxed", (_RELAXED_COMMIT,), _ANNOUNCED),
    Weakening("tick: next_index relaxed", (_RELAXED_NEXT,)),
    Weakening("tick: commit and next_index relaxed", (_RELAXED_COMMIT, _RELAXED_NEXT)),
    # The reader of a tick.
    Weakening("read: next_index relaxed", (_RELAXED_NEXT_LOAD,), _LOOKED_AT),
    Weakening("read: next_index relaxed, in info too", (_RELAXED_NEXT_LOAD, _RELAXED_INFO)),
    Weakening("read: first look relaxed", (_RELAXED_FIRST_LOOK,), _ANNOUNCED),
    Weakening("read: next_index and first look relaxed", (_RELAXED_NEXT_LOAD, _RELAXED_FIRST_LOOK)),
    Weakening("read: no first look", (("ring_read.c", _FIRST_LOOK, ""),), f"{_ANNOUNCED}; the second look decides"),
    Weakening("read: next_index relaxed, no first look", (_RELAXED_NEXT_LOAD, ("ring_read.c", _FIRST_LOOK, ""))),
    Weakening("read: words relaxed", (_relaxed_load("out[i] = ", "tick + i", ";"),)),
    Weakening("read: second look relaxed",
              (_relaxed_load("return ", "tick + TICK_COMMIT", " == index + 1;"),), _DECIDES),
    Weakening("read: no second look", (("ring_read.c", _SECOND_LOOK, "return true;"),)),
    # A writer that takes over from a killed one.
    Weakening("resume: commits not searched", (("ring.c", _FIND, ""),)),
    Weakening("resume: next_index relaxed", (_relaxed_store("ring.c", "&ring->header->next_index", "next"),)),
    Weakening("resume: epoch's commit not looked at", (
        ("ring.c", "if (shared_load(ring_entry(ring, next) + ENTRY_COMMIT) == next)", "if (false)"),
    )),
    Weakening("resume: next_epoch relaxed", (
        ("ring.c", "shared_store(&ring->header->next_epoch, next + 1);\n\treturn",
         "atomic_store_explicit(&ring->header->next_epoch, next + 1, memory_order_relaxed);\n\treturn"),
    )),
    # The table of epochs.
    Weakening("epoch: commit not cleared", (("ring.c", "\tshared_store(entry + ENTRY_COMMIT, 0);\n", ""),)),
    Weakening("epoch: clearing relaxed", (_relaxed_store("ring.c", "entry + ENTRY_COMMIT", "0"),), _FOLLOWED),
    Weakening("epoch: words relaxed", (
        _relaxed_store("ring.c", "entry + ENTRY_FIRST_INDEX", "ring->next"),
        _relaxed_store("ring.c", "entry + ENTRY_LENGTH", "length"),
        _relaxed_store("ring.c", "entry + ENTRY_DOCUMENT + at / 8", "word"),
    )),
    Weakening("epoch: commit relaxed", (_relaxed_store("ring.c", "entry + ENTRY_COMMIT", "next"),)),
    Weakening("epoch: next_epoch relaxed", (
        ("ring.c", "shared_store(&ring->header->next_epoch, next + 1);\n\t*number",
         "atomic_store_explicit(&ring->header->next_epoch, next + 1, memory_order_relaxed);\n\t*number"),
    )),
    Weakening("epoch read: next_epoch relaxed", (
        _relaxed_load("out->next_epoch = (uint32_t)", "&header->next_epoch", ";"),
    )),
    Weakening("epoch read: first look relaxed", (
        _relaxed_load("number == 0 || ", "entry + ENTRY_COMMIT", " != number)"),
    )),
    Weakening("epoch read: words relaxed", (
        _relaxed_load("first = ", "entry + ENTRY_FIRST_INDEX", ";"),
        _relaxed_load("bytes = ", "entry + ENTRY_LENGTH", ";"),
        _relaxed_load("word = ", "entry + ENTRY_DOCUMENT + at / 8", ";"),
    )),
    Weakening("epoch read: second look relaxed", (
        _relaxed_load("if (", "entry + ENTRY_COMMIT", " != number)"),
    ), _DECIDES),
    Weakening("epoch read: no second look", (
        ("ring_read.c", "\tif (shared_load(entry + ENTRY_COMMIT) != number)\n\t\treturn -ENOENT;\n", ""),
    )),
)  # fmt: skip
