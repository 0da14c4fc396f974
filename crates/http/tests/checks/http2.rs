//! What must hold for any bytes of an HTTP/2 peer. The fuzz target and the tests over its corpus call the
//! same functions.

use revolve_http::h1::HeadLimits;
use revolve_http::h2::{Config, Connection, Event, PREFACE, request, response, trailers};
use revolve_http::{Head, Method, ResponseHead};

/// What a side has heard and said.
#[derive(PartialEq, Eq, Debug, Default)]
struct Heard {
    events: Vec<String>,
    error: Option<String>,
    said: Vec<u8>,
}

/// Any bytes: the first says which side hears them, and in pieces of which size.
pub(crate) fn h2(data: &[u8]) {
    let [piece, bytes @ ..] = data else { return };
    let whole = heard(*piece, bytes, bytes.len().max(1));
    for step in [1, 1 + usize::from(*piece)] {
        assert_eq!(heard(*piece, bytes, step), whole, "in pieces of {step}");
    }
    // What is said is bounded by what was heard: an answer is not much larger than its question.
    assert!(
        whole.said.len() <= 256 + 2 * bytes.len(),
        "{}",
        whole.said.len()
    );
}

fn heard(piece: u8, bytes: &[u8], step: usize) -> Heard {
    let config = Config {
        streams_max: 8,
        window_bytes: 1000,
        fields_bytes_max: 4096,
        block_bytes_max: 8192,
    };
    let mut side = match piece % 4 {
        0 => Connection::client(config),
        _ => Connection::server(config),
    };
    let mut heard = Heard::default();
    let begin: &[u8] = match piece % 4 {
        // A client that has asked twice.
        0 => {
            for _ in 0..2 {
                let stream = side.open().expect("nothing was said of a limit");
                let mut head = side.head(stream, true).expect("it has just begun");
                head.pseudo(b":method", b"GET");
                head.finish();
            }
            &[]
        }
        1 => &[],
        _ => PREFACE,
    };
    for part in begin.chunks(7).chain(bytes.chunks(step)) {
        if let Err(error) = feed(&mut side, piece.is_multiple_of(4), part, &mut heard.events) {
            heard.error = Some(error);
            break;
        }
    }
    heard.said = std::mem::take(side.out());
    heard
}

fn feed(
    side: &mut Connection<u32>,
    is_client: bool,
    part: &[u8],
    events: &mut Vec<String>,
) -> Result<(), String> {
    let mut at = 0;
    while at < part.len() {
        let fed = side
            .feed(&part[at..], 0)
            .map_err(|error| error.to_string())?;
        match fed.event {
            None => assert_eq!(at + fed.consumed, part.len()),
            Some(Event::Head { stream, is_last }) if is_client => {
                events.push(note_answer(side, stream, is_last));
            }
            Some(event) => note(side, event, &part[at..], events),
        }
        assert!(fed.consumed > 0 && side.stream_count() <= 8);
        at += fed.consumed;
    }
    Ok(())
}

fn note(side: &mut Connection<u32>, event: Event<u32>, part: &[u8], events: &mut Vec<String>) {
    match event {
        Event::Head { stream, is_last } => {
            side.attach(stream, stream);
            let (mut head, mut bytes) = (Head::default(), Vec::new());
            let limits = HeadLimits::default();
            let fields = side.fields_mut();
            let read = request::read(fields, is_last, &limits, &mut head, &mut bytes);
            if read.is_ok() {
                check_head(&head, &bytes);
            }
            events.push(format!(
                "{stream} head {is_last} {read:?} {}",
                bytes.escape_ascii()
            ));
        }
        Event::Data {
            stream,
            start,
            end,
            is_last,
        } => {
            side.note_taken(stream, end - start);
            let text = part[start..end].escape_ascii().to_string();
            let begin = format!("{stream} data ");
            match events
                .last_mut()
                .filter(|last| last.starts_with(&begin) && !last.ends_with(" end"))
            {
                Some(last) => last.push_str(&text),
                None => events.push(begin + &text),
            }
            if is_last {
                events.push(format!("{stream} data end"));
            }
        }
        Event::Trailers { stream } => {
            let read = trailers::read(side.fields());
            if let Ok(trailers) = &read {
                let bytes = trailers.bytes();
                for line in trailers.lines() {
                    check_line(line.name.of(bytes), line.value.of(bytes));
                }
            }
            events.push(format!("{stream} trailers {read:?}"));
        }
        other => events.push(format!("{other:?}")),
    }
}

/// What a client makes of a head; one that it takes is one that HTTP/1 would have taken.
fn note_answer(side: &mut Connection<u32>, stream: u32, is_last: bool) -> String {
    let (mut head, mut bytes) = (ResponseHead::default(), Vec::new());
    let (fields, get) = (side.fields(), Method::Get);
    let read = response::read(fields, get, is_last, 4096, &mut head, &mut bytes);
    if read.is_ok() {
        assert!((100..1000).contains(&head.status) && head.status != 101);
        assert!(bytes.starts_with(b"HTTP/1.1 ") && bytes.ends_with(b"\r\n\r\n"));
        for line in &head.headers {
            check_line(line.name.of(&bytes), line.value.of(&bytes));
        }
        let lines = bytes.split(|byte| *byte == b'\n').count();
        assert_eq!(lines, head.headers.len() + 3, "{}", bytes.escape_ascii());
    }
    format!(
        "{stream} answer {is_last} {read:?} {}",
        bytes.escape_ascii()
    )
}

fn check_line(name: &[u8], value: &[u8]) {
    let is_name = |byte: &u8| byte.is_ascii_graphic() && *byte != b':';
    assert!(!name.is_empty() && name.iter().all(is_name));
    assert!(!value.iter().any(|byte| b"\r\n\0".contains(byte)));
}

/// No byte of a head may end a line of HTTP/1, and each span lies in it.
fn check_head(head: &Head, bytes: &[u8]) {
    let spans = head.headers.iter().flat_map(|line| [line.name, line.value]);
    for span in spans.chain([head.request_line, head.target.raw, head.method_span]) {
        let text = span.of(bytes);
        assert!(
            !text.iter().any(|byte| b"\r\n\0".contains(byte)),
            "{}",
            text.escape_ascii()
        );
    }
    for line in &head.headers {
        let name = line.name.of(bytes);
        assert!(
            name.iter()
                .all(|byte| byte.is_ascii_graphic() && *byte != b':')
        );
    }
    assert!(head.host.is_some_and(|host| !host.is_empty()));
}
