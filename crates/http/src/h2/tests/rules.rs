//! The rules of RFC 9113 for what a server may be sent, each broken.

use super::*;

/// The rule, what is sent behind the preface and the settings, and what becomes of it.
///
/// A frame is `KIND/FLAGS/STREAM=PAYLOAD`, the payload in hexadecimal digits or `*` and how many zeros;
/// `get1` and `post1` are requests on stream 1, the second without an end. `bare` takes settings and
/// preface away, `preface` the settings alone.
const RULES: &[(&str, &str, &str)] = &[
    ("3.4 preface", "bare 16/0/1=2f", "connection PROTOCOL_ERROR"),
    (
        "3.4 settings first",
        "preface 6/0/0=*8",
        "connection PROTOCOL_ERROR",
    ),
    (
        "3.4 no acknowledgement first",
        "preface 4/1/0=",
        "connection PROTOCOL_ERROR",
    ),
    ("4.2 size", "0/0/1=*16385", "connection FRAME_SIZE_ERROR"),
    (
        "4.3 compression",
        "1/4/1=80",
        "connection COMPRESSION_ERROR",
    ),
    ("5.1 DATA, idle", "0/0/1=78", "connection PROTOCOL_ERROR"),
    (
        "5.1 RST_STREAM, idle",
        "3/0/1=00000000",
        "connection PROTOCOL_ERROR",
    ),
    (
        "5.1 WINDOW_UPDATE, idle",
        "8/0/1=00000001",
        "connection PROTOCOL_ERROR",
    ),
    (
        "5.1 CONTINUATION, idle",
        "9/4/1=",
        "connection PROTOCOL_ERROR",
    ),
    (
        "5.1 DATA, half closed",
        "get1 0/0/1=78",
        "stream 1 STREAM_CLOSED",
    ),
    (
        "5.1 HEADERS, half closed",
        "get1 get1",
        "stream 1 STREAM_CLOSED",
    ),
    (
        "5.1 DATA behind a reset",
        "post1 3/0/1=00000008 0/0/1=78",
        "head, reset CANCEL",
    ),
    ("5.1.1 even", "get2", "connection PROTOCOL_ERROR"),
    ("5.1.1 lower", "get5 get3", "connection STREAM_CLOSED"),
    (
        "5.1.2 too many",
        "post1 post3 post5 post7 post9",
        "stream 9 REFUSED_STREAM",
    ),
    (
        "5.3.1 PRIORITY of none",
        "2/0/0=*5",
        "connection PROTOCOL_ERROR",
    ),
    ("5.5 unknown frames", "32/255/0=78 33/0/7=", ""),
    (
        "5.5 within a block",
        "1/0/1=82 32/0/1=78",
        "connection PROTOCOL_ERROR",
    ),
    ("6.1 stream 0", "0/0/0=78", "connection PROTOCOL_ERROR"),
    (
        "6.1 padding",
        "post1 0/8/1=0501020304",
        "connection PROTOCOL_ERROR",
    ),
    (
        "6.1 no length of padding",
        "post1 0/8/1=",
        "connection FRAME_SIZE_ERROR",
    ),
    ("6.2 stream 0", "1/4/0=82", "connection PROTOCOL_ERROR"),
    ("6.2 padding", "1/12/1=0282", "connection PROTOCOL_ERROR"),
    (
        "6.2 no priority",
        "1/36/1=*4",
        "connection FRAME_SIZE_ERROR",
    ),
    (
        "6.2 another stream within",
        "1/0/1=82 get3",
        "connection PROTOCOL_ERROR",
    ),
    ("6.3 size", "post1 2/0/1=*4", "stream 1 FRAME_SIZE_ERROR"),
    (
        "6.4 stream 0",
        "3/0/0=00000000",
        "connection PROTOCOL_ERROR",
    ),
    ("6.4 size", "post1 3/0/1=*3", "connection FRAME_SIZE_ERROR"),
    (
        "6.5 acknowledgement",
        "4/1/0=*6",
        "connection FRAME_SIZE_ERROR",
    ),
    ("6.5 stream", "4/0/1=", "connection PROTOCOL_ERROR"),
    ("6.5 size", "4/0/0=*5", "connection FRAME_SIZE_ERROR"),
    (
        "6.5.2 push",
        "4/0/0=000200000002",
        "connection PROTOCOL_ERROR",
    ),
    (
        "6.5.2 window",
        "4/0/0=000480000000",
        "connection FLOW_CONTROL_ERROR",
    ),
    (
        "6.5.2 frame, small",
        "4/0/0=000500003fff",
        "connection PROTOCOL_ERROR",
    ),
    (
        "6.5.2 frame, large",
        "4/0/0=000501000000",
        "connection PROTOCOL_ERROR",
    ),
    ("6.5.2 unknown", "4/0/0=ffff01020304", ""),
    (
        "6.6 push promise",
        "get1 5/4/1=00000002",
        "connection PROTOCOL_ERROR",
    ),
    ("6.7 stream", "6/0/1=*8", "connection PROTOCOL_ERROR"),
    ("6.7 size", "6/0/0=*7", "connection FRAME_SIZE_ERROR"),
    ("6.8 stream", "7/0/1=*8", "connection PROTOCOL_ERROR"),
    ("6.8 size", "7/0/0=*7", "connection FRAME_SIZE_ERROR"),
    (
        "6.9 nothing, stream",
        "post1 8/0/1=00000000",
        "stream 1 PROTOCOL_ERROR",
    ),
    (
        "6.9 nothing, connection",
        "8/0/0=00000000",
        "connection PROTOCOL_ERROR",
    ),
    ("6.9 size", "8/0/0=*3", "connection FRAME_SIZE_ERROR"),
    (
        "6.9.1 too far, stream",
        "post1 8/0/1=7fffffff",
        "stream 1 FLOW_CONTROL_ERROR",
    ),
    (
        "6.9.1 too far, connection",
        "8/0/0=7fffffff",
        "connection FLOW_CONTROL_ERROR",
    ),
    (
        "6.9.1 more than the window",
        "post1 0/0/1=*16384 0/0/1=*16384 0/0/1=*16384 0/0/1=*16384 0/0/1=*1",
        "stream 1 FLOW_CONTROL_ERROR",
    ),
    (
        "6.9.2 settings open too far",
        "post1 8/0/1=7fff0000 4/0/0=00047fffffff",
        "connection FLOW_CONTROL_ERROR",
    ),
    (
        "6.10 of nothing",
        "post1 9/4/1=",
        "connection PROTOCOL_ERROR",
    ),
    (
        "8.1 trailers that end nothing",
        "post1 1/4/1=82",
        "stream 1 PROTOCOL_ERROR",
    ),
    (
        "9218 7.1 stream",
        "16/0/1=00000001",
        "connection PROTOCOL_ERROR",
    ),
    (
        "9218 7.1 size",
        "16/0/0=000001",
        "connection FRAME_SIZE_ERROR",
    ),
    (
        "9218 7.1 of none",
        "16/0/0=00000000",
        "connection PROTOCOL_ERROR",
    ),
];

fn payload(text: &str) -> Vec<u8> {
    if let Some(len) = text.strip_prefix('*') {
        return vec![0; len.parse().unwrap()];
    }
    let digits: Vec<u8> = text.bytes().collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn script(text: &str) -> Frames {
    let mut frames = Frames::new();
    for word in text.split_whitespace() {
        frames = if word == "bare" {
            frames.bytes.clear();
            frames
        } else if word == "preface" {
            frames.bytes = PREFACE.to_vec();
            frames
        } else if let Some(stream) = word.strip_prefix("get") {
            frames.get(stream.parse().unwrap())
        } else if let Some(stream) = word.strip_prefix("post") {
            frames.post(stream.parse().unwrap())
        } else {
            let (head, bytes) = word.split_once('=').unwrap();
            let numbers: Vec<u32> = head.split('/').map(|it| it.parse().unwrap()).collect();
            frames.raw(
                numbers[0] as u8,
                numbers[1] as u8,
                numbers[2],
                &payload(bytes),
            )
        };
    }
    frames
}

#[test]
fn what_breaks_a_rule_ends_the_stream_or_the_connection() {
    for (rule, frames, expected) in RULES {
        let judged = judged(&script(frames));
        let expected = expected.replace(
            "head, ",
            "1 head :method=GET|:scheme=http|:path=/|:authority=x false, 1 ",
        );
        let expected = expected.replace("reset CANCEL", "reset Some(10) CANCEL by its peer");
        assert!(judged == expected, "{rule}: {judged:.200}");
    }
}
