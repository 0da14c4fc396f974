//! What requests mean, in two steps.
//!
//! The first, [`begin`], is what may take long or block: it runs on the thread pool, and several
//! requests of one client are in it at a time. The second, [`finish`], is done in the order of the
//! requests, on the client's loop: it asks the homes of names and rooms, and gives the answer.

use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use revolve_reactor::{JobError, JoinHandle, spawn};

use crate::call::{Answer, ask};
use crate::hall::{Hall, Shared};
use crate::session::Session;
use revolve_message::message::{
    BODY_BYTES_MAX, Code, Event, NAME_BYTES_MAX, Request, TEXT_BYTES_MAX, members, said,
};

/// Rooms that one client may be in.
const ROOMS_MAX: usize = 32;
/// Bytes of a history, beside the type of the request.
const HISTORY_BYTES_MAX: usize = BODY_BYTES_MAX - 2;

/// Why a request is refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    pub(crate) text: String,
}

pub(crate) fn refusal<T>(code: Code, text: impl Into<String>) -> Result<T, Refusal> {
    let text = text.into();
    Err(Refusal { code, text })
}

/// What the first step leaves for the second.
#[derive(Debug)]
pub(crate) enum Act {
    Answer(Bytes),
    Login(Arc<str>),
    Join(Arc<str>),
    Leave(Arc<str>),
    Say { room: Arc<str>, text: String },
    Tell { name: Arc<str>, text: String },
    Who(Arc<str>),
}

type Begun = Result<Act, Refusal>;

/// A request after its first step, or in it.
pub(crate) enum Step {
    Ready(Begun),
    Pooled(JoinHandle<Result<Begun, JobError>>),
}

impl Step {
    pub(crate) async fn done(self) -> Begun {
        match self {
            Step::Ready(begun) => begun,
            Step::Pooled(job) => match job.await {
                Ok(Ok(begun)) => begun,
                Ok(Err(error)) => refusal(Code::Failed, error.to_string()),
                Err(error) => refusal(Code::Failed, error.to_string()),
            },
        }
    }
}

/// Begins with a request.
pub(crate) fn begin(request: Request, shared: &Arc<Shared>) -> Step {
    let job_shared = Arc::clone(shared);
    match request {
        Request::Login { name } => Step::Ready(check_name(&name).map(Act::Login)),
        Request::Join { room } => Step::Ready(check_name(&room).map(Act::Join)),
        Request::Leave { room } => Step::Ready(Ok(Act::Leave(room.into()))),
        Request::Who { room } => Step::Ready(Ok(Act::Who(room.into()))),
        Request::Ping { bytes } => Step::Ready(Ok(Act::Answer(bytes))),
        Request::Say { room, text } => pooled(shared, move || {
            let text = moderate(&job_shared, text)?;
            let room = room.into();
            Ok(Act::Say { room, text })
        }),
        Request::Tell { name, text } => pooled(shared, move || {
            let text = moderate(&job_shared, text)?;
            let name = name.into();
            Ok(Act::Tell { name, text })
        }),
        Request::History { room, lines } => {
            pooled(shared, move || history(&job_shared, &room, lines))
        }
        // The session answers these itself.
        Request::Pong | Request::Quit => Step::Ready(Ok(Act::Answer(Bytes::new()))),
    }
}

fn pooled(shared: &Arc<Shared>, job: impl FnOnce() -> Begun + Send + 'static) -> Step {
    let pool = shared.pool.clone();
    Step::Pooled(spawn(async move { pool.run(job).await }))
}

/// Names of clients and rooms: short, visible, and fit for a file's name.
fn check_name(name: &str) -> Result<Arc<str>, Refusal> {
    let fits = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(fits) {
        let text = format!("a name has 1 to {NAME_BYTES_MAX} bytes of letters, digits, - and _");
        return refusal(Code::BadName, text);
    }
    Ok(name.into())
}

/// What a text must pass before others see it. Takes as long as there are words to mask.
fn moderate(shared: &Shared, text: String) -> Result<String, Refusal> {
    if text.len() > TEXT_BYTES_MAX {
        let message = format!(
            "a text of {} bytes; {TEXT_BYTES_MAX} are allowed",
            text.len()
        );
        return refusal(Code::Malformed, message);
    }
    let mask = |text: String, word: &String| text.replace(word, &"*".repeat(word.chars().count()));
    Ok(shared.options.mask.iter().fold(text, mask))
}

/// Reads files, and blocks.
fn history(shared: &Shared, room: &str, lines: u16) -> Begun {
    let room = check_name(room)?;
    let Some(archive) = &shared.archive else {
        return refusal(Code::NoArchive, "this server keeps no archive");
    };
    match archive.tail(&room, lines, HISTORY_BYTES_MAX) {
        Ok(lines) => Ok(Act::Answer(lines.into())),
        Err(error) => refusal(Code::Failed, format!("the archive is not read: {error}")),
    }
}

/// Asks the home of `name`; an error if the server stops meanwhile.
async fn at_home<T: Send + 'static>(
    session: &Session,
    name: &str,
    f: impl FnOnce(&Rc<Hall>, Answer<T>) + Send + 'static,
) -> Result<T, Refusal> {
    let (answer, asked) = ask();
    let shared = &session.shared;
    shared.post(shared.home(name), move |hall| f(hall, answer));
    match asked.await {
        Some(value) => Ok(value),
        None => refusal(Code::Stopping, "the server stops"),
    }
}

/// The second step: the payload of the answer.
pub(crate) async fn finish(session: &Rc<Session>, act: Act) -> Result<Bytes, Refusal> {
    let name = match (session.logged_in(), &act) {
        (Some(name), _) => name,
        (None, Act::Login(_) | Act::Answer(_)) => "".into(),
        (None, _) => return refusal(Code::NotLoggedIn, "log in first"),
    };
    match act {
        Act::Answer(payload) => Ok(payload),
        Act::Login(name) => login(session, name).await,
        Act::Join(room) => join(session, room, name).await,
        Act::Leave(room) if session.leave(&room) => Ok(Bytes::new()),
        Act::Say { room, text } if session.is_in(&room) => say(session, room, name, text).await,
        Act::Leave(room) | Act::Say { room, .. } => {
            refusal(Code::NotInRoom, format!("you are not in the room {room}"))
        }
        Act::Tell { name: to, text } => tell(session, to, name, text).await,
        Act::Who(room) => {
            let home = Arc::clone(&room);
            let ask = move |hall: &Rc<Hall>, answer: Answer<_>| {
                answer.give(hall.registry.borrow().members(&room));
            };
            Ok(members(&at_home(session, &home, ask).await?))
        }
    }
}

async fn login(session: &Rc<Session>, name: Arc<str>) -> Result<Bytes, Refusal> {
    // Noted before it is claimed: should the client go meanwhile, the name is released.
    if !session.set_name(&name) {
        return refusal(Code::LoggedInAlready, "you have a name already");
    }
    let (claimed, seat) = (Arc::clone(&name), session.seat);
    let claim = move |hall: &Rc<Hall>, answer: Answer<bool>| {
        answer.give(hall.registry.borrow_mut().claim(&claimed, seat));
    };
    if at_home(session, &name, claim).await? {
        session.set_logged_in();
        return Ok(Bytes::new());
    }
    session.clear_name();
    refusal(Code::NameTaken, format!("{name} is here already"))
}

async fn join(session: &Rc<Session>, room: Arc<str>, name: Arc<str>) -> Result<Bytes, Refusal> {
    // Noted before it is so, for the same reason.
    if !session.note_room(&room, ROOMS_MAX) {
        return refusal(
            Code::TooManyRooms,
            format!("you are in {ROOMS_MAX} rooms already"),
        );
    }
    let (entered, seat) = (Arc::clone(&room), session.seat);
    let enter = move |hall: &Rc<Hall>, answer: Answer<u32>| {
        let count = hall.registry.borrow_mut().join(&entered, seat, name);
        // What is said from now on leaves this loop after this, so that nothing is missed.
        hall.shared.post(seat.reactor, move |hall| {
            hall.enter_room(&entered, seat);
            answer.give(count);
        });
    };
    let count = at_home(session, &room, enter).await?;
    Ok(Bytes::copy_from_slice(&count.to_be_bytes()))
}

/// A message that goes to several loops. The last that is done with it gives the answer: so a
/// client has one message under way at a time, and no loop is given more than it can deliver.
struct Fanout {
    number: u64,
    heard: AtomicU32,
    answer: Mutex<Option<Answer<Bytes>>>,
}

impl Drop for Fanout {
    fn drop(&mut self) {
        let answer = self
            .answer
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = answer.take() {
            answer.give(said(self.number, *self.heard.get_mut()));
        }
    }
}

async fn say(
    session: &Rc<Session>,
    room: Arc<str>,
    from: Arc<str>,
    text: String,
) -> Result<Bytes, Refusal> {
    let home = Arc::clone(&room);
    let say = move |hall: &Rc<Hall>, answer: Answer<Bytes>| {
        let Some(outgoing) = hall.registry.borrow_mut().say(&room) else {
            return;
        };
        let room = outgoing.room;
        hall.writer
            .note(&hall.shared, &room, outgoing.number, &from, &text);
        let heard = Event::Heard {
            room: room.to_string(),
            number: outgoing.number,
            from: from.to_string(),
            text,
        };
        let Some(message) = encode(&heard) else {
            return;
        };
        let fanout = Arc::new(Fanout {
            number: outgoing.number,
            heard: AtomicU32::new(0),
            answer: Mutex::new(Some(answer)),
        });
        for number in outgoing.loops {
            let (fanout, room, message) = (fanout.clone(), room.clone(), message.clone());
            hall.shared.post(number, move |hall| {
                let count = hall.deliver(&room, &message);
                fanout.heard.fetch_add(count, Ordering::Relaxed);
            });
        }
    };
    at_home(session, &home, say).await
}

async fn tell(
    session: &Rc<Session>,
    to: Arc<str>,
    from: Arc<str>,
    text: String,
) -> Result<Bytes, Refusal> {
    let told = Event::Told {
        from: from.to_string(),
        text,
    };
    let Some(message) = encode(&told) else {
        return refusal(Code::Malformed, "too long");
    };
    let name = Arc::clone(&to);
    let tell = move |hall: &Rc<Hall>, answer: Answer<Option<bool>>| match hall
        .registry
        .borrow()
        .find(&name)
    {
        None => answer.give(None),
        Some(seat) => hall.shared.post(seat.reactor, move |hall: &Rc<Hall>| {
            answer.give(Some(hall.deliver_to(seat, &message)));
        }),
    };
    match at_home(session, &to, tell).await? {
        Some(true) => Ok(Bytes::new()),
        Some(false) => refusal(
            Code::TooSlow,
            format!("{to} reads too slowly: it was left out"),
        ),
        None => refusal(
            Code::NobodyOfThatName,
            format!("nobody here is called {to}"),
        ),
    }
}

/// The message for all outboxes: encoded once, and shared.
fn encode(event: &Event) -> Option<Bytes> {
    event.to_frame(0).to_bytes().ok()
}
