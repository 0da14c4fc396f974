//! The example programs, run as the processes that they are, and talked to.

mod common;
mod programs;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::pattern;
use programs::{ANY, Example, STEP_MAX, program, read, read_all, read_line};

/// A service for proxies to connect to: it says in capitals what it was told, once it was told all.
fn capitals() -> SocketAddr {
    let listener = TcpListener::bind(ANY).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let text = read_all(&mut stream);
            stream.write_all(&text.to_ascii_uppercase()).unwrap();
        }
    });
    address
}

#[test]
fn discard_takes_everything_and_says_how_much() {
    let mut discard = Example::start("discard", &[ANY]);
    let mut stream = discard.connect();
    stream.write_all(&pattern(300_000)).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut stream), b"");
    assert!(discard.line().ends_with(": 300000 bytes discarded"));
}

#[test]
fn daytime_answers_one_who_talks_first_too() {
    let daytime = Example::start("daytime", &[ANY]);
    let mut stream = daytime.connect();
    stream.write_all(b"what is the time?").unwrap();
    let said = String::from_utf8(read_all(&mut stream)).unwrap();
    assert_eq!(said.len(), 31, "{said}");
    assert!(said.ends_with(" GMT\r\n"), "{said}");
}

#[test]
fn proxy_carries_both_ways_and_passes_the_half_close_on() {
    let target = capitals().to_string();
    let proxy = Example::start("proxy", &[ANY, &target]);
    let mut stream = proxy.connect();
    let text = "revolve ".repeat(100_000);
    let mut writer = stream.try_clone().unwrap();
    let sent = text.clone();
    let writer = thread::spawn(move || {
        writer.write_all(sent.as_bytes()).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    assert!(read_all(&mut stream) == text.to_uppercase().into_bytes());
    writer.join().unwrap();
}

/// Asks a SOCKS5 proxy for a connection, byte by byte, and gives its answer.
fn socks5(stream: &mut TcpStream, request: &[u8]) -> u8 {
    for byte in [5, 2, 2, 0] {
        stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(read(stream, 2), [5, 0]);
    stream.write_all(request).unwrap();
    read(stream, 10)[1]
}

#[test]
fn socks5_connects_to_addresses_and_names() {
    let socks = Example::start("socks5", &[ANY]);
    let port = capitals().port().to_be_bytes();
    let by_address = [&[5, 1, 0, 1, 127, 0, 0, 1][..], &port].concat();
    let by_name = [&[5, 1, 0, 3, 9][..], b"127.0.0.1", &port].concat();
    for request in [by_address, by_name] {
        let mut stream = socks.connect();
        assert_eq!(socks5(&mut stream, &request), 0);
        stream.write_all(b"hello").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(&mut stream), b"HELLO");
    }
}

#[test]
fn socks5_says_what_it_cannot_do() {
    let socks = Example::start("socks5", &[ANY]);
    let unused = TcpListener::bind(ANY).unwrap().local_addr().unwrap();
    let refused = [
        &[5, 1, 0, 1, 127, 0, 0, 1][..],
        &unused.port().to_be_bytes(),
    ]
    .concat();
    let bind = [5, 2, 0, 1, 127, 0, 0, 1, 0, 80];
    let family = [5, 1, 0, 9];
    for (request, code) in [(&refused[..], 5), (&bind, 7), (&family, 8)] {
        assert_eq!(socks5(&mut socks.connect(), request), code);
    }
    let mut with_password = socks.connect();
    with_password.write_all(&[5, 1, 2]).unwrap();
    assert_eq!(read(&mut with_password, 2), [5, 0xFF]);
}

#[test]
fn chat_tells_everybody_in_order() {
    let chat = Example::start("chat", &[ANY]);
    let (mut one, mut two) = (chat.connect(), chat.connect());
    // Each has heard itself, so that both are known to be in the room.
    one.write_all(b"a\n").unwrap();
    let name = read_line(&mut one).replace("a\n", "");
    two.write_all(b"b\n").unwrap();
    while !read_line(&mut two).ends_with("b\n") {}
    assert!(read_line(&mut one).ends_with("b\n"));
    for part in ["hel", "lo\nbye", "\n"] {
        one.write_all(part.as_bytes()).unwrap();
    }
    for stream in [&mut one, &mut two] {
        assert_eq!(read_line(stream), format!("{name}hello\n"));
        assert_eq!(read_line(stream), format!("{name}bye\n"));
    }
}

#[test]
fn chat_drops_who_reads_too_slowly_and_nobody_else() {
    let chat = Example::start("chat", &[ANY]);
    let (mut slow, mut talker) = (chat.connect(), chat.connect());
    slow.write_all(b"here\n").unwrap();
    while !read_line(&mut slow).ends_with("here\n") {}
    // Far more than the kernel's buffers and the outbox hold; the talker reads what it hears, so
    // that its own outbox stays below the limit.
    let line = [&[b'x'; 4000][..], b"\n"].concat();
    let (rounds, lines) = (120, 50);
    for _ in 0..rounds {
        talker.write_all(&line.repeat(lines)).unwrap();
        read(&mut talker, (b"2: ".len() + line.len()) * lines);
    }
    let mut heard = 0;
    let mut buffer = [0; 65536];
    while let Ok(n @ 1..) = slow.read(&mut buffer) {
        heard += n;
    }
    assert!(heard < rounds * lines * line.len(), "{heard}");
}

#[test]
fn file_sender_sends_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let content = pattern(5_000_000);
    std::fs::write(&path, &content).unwrap();
    let sender = Example::start("file_sender", &[ANY, path.to_str().unwrap()]);
    for _ in 0..3 {
        assert!(read_all(&mut sender.connect()) == content);
    }
}

#[test]
fn idle_kick_warns_and_closes() {
    let kick = Example::start("idle_kick", &[ANY, "100"]);
    let mut stream = kick.connect();
    let begin = Instant::now();
    assert_eq!(read_line(&mut stream), "are you still there?\n");
    stream.write_all(b"yes\n").unwrap();
    assert_eq!(read_line(&mut stream), "yes\n");
    assert_eq!(read_all(&mut stream), b"are you still there?\n");
    assert!(begin.elapsed() >= Duration::from_millis(290));
}

#[test]
fn periodic_runs_each_job_by_its_period() {
    let output = Command::new(program("periodic"))
        .arg("1.05")
        .output()
        .unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let count = |name: &str| output.lines().filter(|line| line.contains(name)).count();
    // A slow machine leaves moments out, and never adds any.
    assert!((1..=10).contains(&count("tick")), "{output}");
    assert!((1..=4).contains(&count("sample")), "{output}");
    assert_eq!(count("report"), 1, "{output}");
    assert!(output.ends_with("all jobs are cancelled\n"), "{output}");
}

#[test]
fn http_hello_answers_pipelined_requests_and_refuses_wrong_ones() {
    let hello = Example::start("http_hello", &[ANY, "2"]);
    let mut stream = hello.connect();
    let request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    stream
        .write_all(format!("{request}{request}GET / HT").as_bytes())
        .unwrap();
    stream
        .write_all(b"TP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    let answers = String::from_utf8(read_all(&mut stream)).unwrap();
    assert_eq!(
        answers.matches("HTTP/1.1 200 OK\r\n").count(),
        3,
        "{answers}"
    );
    assert_eq!(answers.matches("hello, world\n").count(), 3, "{answers}");

    let mut stream = hello.connect();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let answer = String::from_utf8(read_all(&mut stream)).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
        "{answer}"
    );
}

#[test]
fn embed_takes_orders_from_its_main_thread() {
    let mut embed = Example::start("embed", &[ANY]);
    let mut streams = [embed.connect(), embed.connect()];
    let begin = Instant::now();
    loop {
        embed.command("count\n");
        let said = embed.line();
        if said == "2 connections" {
            break;
        }
        assert!(begin.elapsed() < STEP_MAX, "{said}");
    }
    embed.command("say dinner is ready\n");
    for stream in &mut streams {
        assert_eq!(read_line(stream), "dinner is ready\n");
    }
    embed.input = None;
    for stream in &mut streams {
        assert_eq!(read_all(stream), b"");
    }
    assert!(embed.child.wait().unwrap().success());
}

#[test]
fn unix_echo_serves_its_own_client_and_removes_what_a_killed_one_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("echo.sock");
    let path_text = path.to_str().unwrap();
    for _ in 0..2 {
        // Killed when dropped, so that its socket stays behind for the next.
        let echo = Example::start("unix_echo", &[path_text]);
        assert_eq!(echo.listening, format!("unix:{path_text}"));
        let output = Command::new(program("unix_echo"))
            .args([path_text, "hello"])
            .output();
        assert_eq!(output.unwrap().stdout, b"hello\n");
        drop(echo);
        assert!(path.exists());
    }
}

#[test]
fn udp_echo_sends_each_datagram_back_to_its_sender() {
    let mut echo = Example::start("udp_echo", &[ANY, "2"]);
    let address = echo.address();
    let mut total = 0;
    for number in 0..6 {
        let socket = UdpSocket::bind(ANY).unwrap();
        socket.set_read_timeout(Some(STEP_MAX)).unwrap();
        // More than one batch, and few enough for the socket's buffer.
        let sent: Vec<Vec<u8>> = (0..40).map(|n| pattern(n * 30 + number)).collect();
        for datagram in &sent {
            socket.send_to(datagram, address).unwrap();
        }
        let mut space = [0; 2000];
        for datagram in &sent {
            let (len, from) = socket.recv_from(&mut space).unwrap();
            assert_eq!((&space[..len], from), (&datagram[..], address));
        }
        total += sent.len();
    }
    let pid = echo.child.id().to_string();
    let killed = Command::new("kill").args(["-TERM", &pid]).status();
    assert!(killed.unwrap().success());
    let said = echo.line();
    assert!(echo.child.wait().unwrap().success());
    let number = |at: usize| -> usize { said.split(' ').nth(at).unwrap().parse().unwrap() };
    let (datagrams, batches) = (number(0), number(3));
    assert!(datagrams <= total && batches <= datagrams, "{said}");
}

#[test]
fn echo_echoes() {
    let mut child = Command::new(program("echo"));
    let mut child = child
        .args(["main", ANY, "2"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    let address = line.trim_end().rsplit(' ').next().unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(STEP_MAX)).unwrap();
    stream.write_all(b"to and fro").unwrap();
    let heard = read(&mut stream, 10);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(heard, b"to and fro");
}

/// Whether the kernel, and whatever confines this process, gives a ring.
#[cfg(target_os = "linux")]
fn has_io_uring() -> bool {
    let mut builder = <io_uring::IoUring>::builder();
    let builder = builder.setup_single_issuer().setup_defer_taskrun();
    builder.build(8).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn has_io_uring() -> bool {
    false
}

#[test]
fn every_io_model_echoes_whole_messages_to_all() {
    for model in ["blocking", "polling", "select", "poll", "epoll", "io_uring"] {
        if model == "io_uring" && !has_io_uring() {
            eprintln!("io_uring is not to be had here: left out");
            continue;
        }
        let server = Example::start("models", &[model, ANY]);
        let mut streams: Vec<TcpStream> = (0..20).map(|_| server.connect()).collect();
        for (number, stream) in streams.iter_mut().enumerate() {
            // The largest is more than the sockets hold, so that it goes through in pieces.
            let message = pattern(1 << (4 + number));
            let mut writer = stream.try_clone().unwrap();
            let sent = message.clone();
            let writer = thread::spawn(move || {
                writer.write_all(&sent).unwrap();
                writer.shutdown(Shutdown::Write).unwrap();
            });
            assert!(read_all(stream) == message, "{model}");
            writer.join().unwrap();
        }
    }
}

/// What the example says of each trigger, by its headings.
fn triggers_on(driver: &str) -> String {
    let mut command = Command::new(program("triggers"));
    let output = command.env("REVOLVE_DRIVER", driver).output().unwrap();
    assert!(output.status.success(), "{driver}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn section<'a>(shown: &'a str, heading: &str) -> &'a str {
    let (_, behind) = shown
        .split_once(heading)
        .unwrap_or_else(|| panic!("{shown}"));
    behind.split("\n\n").next().unwrap()
}

#[test]
fn triggers_shows_what_each_is_told() {
    let shown = triggers_on("epoll");
    let edge = section(&shown, "Edge, reading from a pipe");
    assert!(
        edge.contains("none was read: nothing") && edge.contains("4 more were written: readable")
    );
    let level = section(&shown, "Level, reading from a pipe");
    assert!(level.contains("none was read still: readable"), "{level}");
    let one_shot = section(&shown, "OneShot, reading from a pipe");
    assert!(one_shot.contains("none was read: nothing"), "{one_shot}");
    assert!(one_shot.contains("armed anew: readable"), "{one_shot}");
    for trigger in ["Edge", "Level", "OneShot", "Exclusive"] {
        let writing = section(&shown, &format!("{trigger}, writing to a socket"));
        assert!(writing.contains("filled up: nothing"), "{writing}");
        assert!(
            writing.contains("the peer has read all: writable"),
            "{writing}"
        );
    }
    let waiting = section(&shown, "Exclusive, 4 loops that wait for the same pipe");
    assert!(
        waiting.contains("of 4 woken") && !waiting.contains("0 of 4"),
        "{waiting}"
    );

    let shown = triggers_on("poll");
    for trigger in ["Edge", "Exclusive"] {
        let refused = section(&shown, &format!("{trigger}, reading from a pipe"));
        assert!(
            refused.contains(&format!("poll(2) has no {trigger} trigger")),
            "{refused}"
        );
    }
    assert_eq!(shown.matches("of 4 woken").count(), 1, "{shown}");
}
