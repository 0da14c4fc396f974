//! Each limit against floods: at it, and one past it.

use super::super::frame::*;
use super::*;

/// What is sent so many times, at the limit and one past it.
type Flood = (&'static str, fn(u32) -> Frames, u32);

const FLOODS: &[Flood] = &[
    (
        "resets",
        |count| {
            new().many(count, |it, at| {
                it.post(2 * at + 1)
                    .raw(RST_STREAM, 0, 2 * at + 1, &[0, 0, 0, 8])
            })
        },
        RESETS_MAX,
    ),
    (
        "made resets",
        |count| {
            new().many(count, |it, at| {
                it.post(2 * at + 1)
                    .raw(WINDOW_UPDATE, 0, 2 * at + 1, &[0; 4])
            })
        },
        RESETS_MAX,
    ),
    (
        "refused streams",
        |count| {
            let full = new().many(4, |it, at| it.post(2 * at + 1));
            full.many(count, |it, at| it.post(2 * at + 9))
        },
        RESETS_MAX,
    ),
    (
        "pings, beside the settings",
        |count| new().many(count, |it, _| it.raw(PING, 0, 0, &[0; 8])),
        REPLIES_MAX - 1,
    ),
    (
        "settings",
        |count| new().many(count, |it, _| it.raw(SETTINGS, 0, 0, &[])),
        REPLIES_MAX - 1,
    ),
    (
        "empty frames",
        |count| new().post(1).many(count, |it, _| it.raw(DATA, 0, 1, &[])),
        EMPTY_FRAMES_MAX,
    ),
    (
        "continuations",
        |count| {
            let begun = new().raw(HEADERS, 0, 1, &[0x82]);
            begun.many(count, |it, _| it.raw(CONTINUATION, 0, 1, &[0x86]))
        },
        BLOCK_FRAMES_MAX - 1,
    ),
    (
        "the bytes of a block",
        |count| {
            let begun = new().raw(HEADERS, 0, 1, &[0x82; 192]);
            begun.many(count, |it, _| it.raw(CONTINUATION, 0, 1, &[0x86; 1600]))
        },
        5,
    ),
    (
        "priorities, 14 bytes each",
        |count| new().many(count, |it, _| it.raw(PRIORITY, 0, 1, &[0; 5])),
        (8 * ((1 << 20) + 1) - 1 - 9) / 14,
    ),
];

fn new() -> Frames {
    Frames::new()
}

#[test]
fn what_asks_for_too_much_is_sent_away() {
    for (what, flood, most) in FLOODS {
        let calm = "connection ENHANCE_YOUR_CALM";
        let at_most = judged(&flood(*most));
        assert!(at_most != calm, "{what}: {most} are taken");
        let beyond = judged(&flood(*most + 1));
        assert!(beyond == calm, "{what}: {beyond:.100}");
    }
}

/// An honest stream of small messages, as gRPC has them.
#[test]
fn ten_thousand_small_messages_are_no_flood() {
    let frames = new()
        .post(1)
        .many(10_000, |it, _| it.raw(DATA, 0, 1, b"tiny!"));
    assert_eq!(judged(&frames).matches("tiny!").count(), 10_000);
}
