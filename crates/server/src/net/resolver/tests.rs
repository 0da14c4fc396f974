//! The resolver before name servers that answer, lie, limp and die.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use domain::base::iana::{Class, Rcode, Rtype};
use domain::base::name::ToName;
use domain::base::{Message, MessageBuilder, Name, Record, Ttl};
use domain::rdata::{A, Aaaa, AllRecordData, Cname, Ptr, Soa, Srv};
use proptest::prelude::*;
use revolve_reactor::{
    Address, EventLoop, ListenOptions, Listener, Simulation, Stream, UdpSocket, sleep, spawn,
};

use super::message::{DnsName, Kind, Query, Question, Received, receive};
use super::*;

type Rec = Record<Name<Vec<u8>>, AllRecordData<Vec<u8>, Name<Vec<u8>>>>;

fn name(text: &str) -> Name<Vec<u8>> {
    Name::vec_from_str(text).expect("a name")
}

fn record(owner: &str, ttl_s: u32, data: impl Into<AllRecordData<Vec<u8>, Name<Vec<u8>>>>) -> Rec {
    Record::new(name(owner), Class::IN, Ttl::from_secs(ttl_s), data.into())
}

fn a(owner: &str, address: &str, ttl_s: u32) -> Rec {
    record(owner, ttl_s, A::new(address.parse().expect("IPv4")))
}

fn aaaa(owner: &str, address: &str, ttl_s: u32) -> Rec {
    record(owner, ttl_s, Aaaa::new(address.parse().expect("IPv6")))
}

fn cname(owner: &str, target: &str, ttl_s: u32) -> Rec {
    record(owner, ttl_s, Cname::new(name(target)))
}

fn soa(owner: &str, minimum_s: u32) -> Rec {
    let second = Ttl::from_secs(1);
    let minimum = Ttl::from_secs(minimum_s);
    let soa = Soa::new(
        name("ns"),
        name("host"),
        1u32.into(),
        second,
        second,
        second,
        minimum,
    );
    record(owner, 3600, soa)
}

/// What a server was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    name: String,
    rtype: Rtype,
    is_tcp: bool,
    has_edns: bool,
    /// How many queries there were before.
    before: usize,
}

/// What a server does.
enum Deed {
    Say(Vec<Rec>),
    /// Nothing, with the zone's SOA.
    Nothing(Rcode, Vec<Rec>),
    Fail(Rcode),
    /// Says it in small letters, whatever was asked.
    SmallLetters(Vec<Rec>),
    Truncate,
    /// Says things that are not asked, and then something.
    Lie(Vec<Rec>),
    Garbage,
    Silence,
    Late(Duration, Vec<Rec>),
}

/// A name server of its own port.
struct Fake {
    address: SocketAddr,
    asked: RefCell<Vec<Asked>>,
    answer: Box<dyn Fn(&Asked) -> Deed>,
}

impl Fake {
    fn start(answer: impl Fn(&Asked) -> Deed + 'static) -> Rc<Self> {
        // A port that is free for both.
        let (udp, tcp, address) = loop {
            let any = Address::Inet(([127, 0, 0, 1], 0).into());
            let udp = UdpSocket::bind(&any).expect("bind");
            let address = udp.local_address().expect("name");
            let Ok(fd) = Listener::bind(&address, &ListenOptions::default()) else {
                continue;
            };
            let tcp = Listener::from_fd(fd).expect("listen");
            break (udp, tcp, address.as_inet().expect("inet"));
        };
        let fake = Rc::new(Self {
            address,
            asked: RefCell::default(),
            answer: Box::new(answer),
        });
        let server = fake.clone();
        let udp = Rc::new(udp);
        spawn(async move {
            while let Ok(datagram) = udp.recv_from().await {
                let (server, udp) = (server.clone(), udp.clone());
                spawn(async move {
                    for answer in server.answers(&datagram.bytes, false).await {
                        let _ = udp.send_to(&answer, &datagram.from).await;
                    }
                });
            }
        });
        let server = fake.clone();
        spawn(async move {
            while let Ok((fd, _)) = tcp.accept().await {
                let server = server.clone();
                spawn(async move { server.serve(Stream::from_fd(fd).expect("stream")).await });
            }
        });
        fake
    }

    async fn serve(&self, stream: Stream) {
        let mut bytes = Vec::new();
        while bytes.len() < 2
            || bytes.len() < 2 + usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))
        {
            match stream.recv().await {
                Ok(received) if !received.is_empty() => bytes.extend_from_slice(&received),
                _ => return,
            }
        }
        for answer in self.answers(&bytes[2..], true).await {
            let framed = [&(answer.len() as u16).to_be_bytes(), &answer[..]].concat();
            let _ = stream.send_all(Bytes::from(framed)).await;
        }
    }

    async fn answers(&self, query: &[u8], is_tcp: bool) -> Vec<Vec<u8>> {
        let query = Message::from_octets(query.to_vec()).expect("a query");
        let question = query.sole_question().expect("one question");
        let asked = Asked {
            name: question.qname().to_string().to_ascii_lowercase(),
            rtype: question.qtype(),
            is_tcp,
            has_edns: query.opt().is_some(),
            before: self.asked.borrow().len(),
        };
        self.asked.borrow_mut().push(asked.clone());
        let say = |id_by: u16, other: Option<&str>, rcode, records: &[Rec], zone: &[Rec], tc| {
            let mut answer = MessageBuilder::new_vec();
            let header = answer.header_mut();
            header.set_id(query.header().id() ^ id_by);
            header.set_qr(true);
            header.set_rcode(rcode);
            header.set_tc(tc);
            let mut asking = answer.question();
            let same: Name<Vec<u8>> = question.qname().to_vec();
            let told = other.map_or(same, name);
            asking.push((told, question.qtype())).expect("room");
            let mut answer = asking.answer();
            records.iter().for_each(|it| answer.push(it).expect("room"));
            let mut authority = answer.authority();
            zone.iter().for_each(|it| authority.push(it).expect("room"));
            authority.finish()
        };
        let ok = Rcode::NOERROR;
        match (self.answer)(&asked) {
            Deed::Say(records) => vec![say(0, None, ok, &records, &[], false)],
            Deed::Nothing(rcode, zone) => vec![say(0, None, rcode, &[], &zone, false)],
            Deed::Fail(rcode) => vec![say(0, None, rcode, &[], &[], false)],
            Deed::SmallLetters(records) => {
                vec![say(0, Some(&asked.name), ok, &records, &[], false)]
            }
            Deed::Truncate => vec![say(0, None, ok, &[], &[], true)],
            Deed::Lie(records) => {
                let lie = [a(&asked.name, "6.6.6.6", 600)];
                vec![
                    say(1, None, ok, &lie, &[], false),
                    say(0, Some("else.test"), ok, &lie, &[], false),
                    b"no message".to_vec(),
                    say(0, None, ok, &records, &[], false),
                ]
            }
            Deed::Garbage => {
                let mut bytes = say(0, None, ok, &[a(&asked.name, "6.6.6.6", 1)], &[], false);
                bytes.truncate(bytes.len() - 3);
                vec![bytes]
            }
            Deed::Silence => Vec::new(),
            Deed::Late(by, records) => {
                sleep(by).await;
                vec![say(0, None, ok, &records, &[], false)]
            }
        }
    }

    fn count(&self, rtype: Rtype) -> usize {
        let asked = self.asked.borrow();
        asked.iter().filter(|asked| asked.rtype == rtype).count()
    }
}

fn resolver(servers: &[&Rc<Fake>]) -> Resolver {
    only_v4(servers, None)
}

fn only_v4(servers: &[&Rc<Fake>], valid: Option<Duration>) -> Resolver {
    of(ResolverSpec {
        servers: servers.iter().map(|fake| fake.address).collect(),
        valid,
        ipv6: false,
        ..ResolverSpec::default()
    })
}

fn of(spec: ResolverSpec) -> Resolver {
    Resolvers::default().get(&Arc::new(spec), Duration::from_secs(30))
}

async fn texts(resolver: &Resolver, name: &str) -> Result<Vec<String>, String> {
    let answer = resolver.lookup(name).await;
    let answer = answer.map(|it| it.addresses.iter().map(ToString::to_string).collect());
    answer.map_err(|error| error.to_string())
}

fn found(addresses: &[&str]) -> Result<Vec<String>, String> {
    Ok(addresses.iter().map(ToString::to_string).collect())
}

/// Runs on networks in memory, whose time passes at once.
fn run<F: Future<Output = ()>>(scenario: impl Fn() -> F) {
    run_seeds(20, scenario);
}

fn run_seeds<F: Future<Output = ()>>(seeds: u64, scenario: impl Fn() -> F) {
    for seed in 0..seeds {
        let simulation = Simulation::seeded(seed);
        let built = EventLoop::builder().simulation(simulation).build();
        let mut event_loop = built.expect("a loop");
        event_loop.block_on(async {
            let done = revolve_reactor::timeout(Duration::from_secs(3600), scenario());
            done.await.unwrap_or_else(|_| panic!("seed {seed} hangs"));
        });
    }
}

#[test]
fn a_name_is_asked_for_once_while_it_holds() {
    run(|| async {
        let fake = Fake::start(|asked| Deed::Say(vec![a(&asked.name, "192.0.2.1", 60)]));
        let resolver = resolver(&[&fake]);
        let (one, other) = (resolver.clone(), resolver.clone());
        let one = spawn(async move { texts(&one, "a.test").await });
        let other = spawn(async move { texts(&other, "A.Test.").await });
        assert_eq!(one.await.unwrap(), found(&["192.0.2.1"]));
        assert_eq!(other.await.unwrap(), found(&["192.0.2.1"]));
        sleep(Duration::from_secs(50)).await;
        assert_eq!(texts(&resolver, "a.test").await, found(&["192.0.2.1"]));
        assert_eq!(fake.asked.borrow().len(), 1);
        assert!(fake.asked.borrow()[0].has_edns);
        sleep(Duration::from_secs(11)).await;
        assert_eq!(texts(&resolver, "a.test").await, found(&["192.0.2.1"]));
        assert_eq!(fake.asked.borrow().len(), 2);
    });
}

#[test]
fn valid_takes_the_place_of_the_time_to_live() {
    run(|| async {
        let fake = Fake::start(|asked| Deed::Say(vec![a(&asked.name, "192.0.2.1", 60)]));
        let resolver = only_v4(&[&fake], Some(Duration::from_secs(5)));
        for count in 1..4 {
            assert_eq!(texts(&resolver, "a.test").await, found(&["192.0.2.1"]));
            assert_eq!(fake.asked.borrow().len(), count);
            sleep(Duration::from_secs(6)).await;
        }
    });
}

#[test]
fn both_families_are_asked_for_and_the_second_is_not_waited_for_long() {
    run(|| async {
        let fake = Fake::start(|asked| match (asked.rtype, &asked.name[..]) {
            (Rtype::A, "six.test") => Deed::Nothing(Rcode::NOERROR, vec![soa("test", 5)]),
            (Rtype::A, _) => Deed::Say(vec![a(&asked.name, "192.0.2.1", 60)]),
            (_, "slow.test") => Deed::Silence,
            (_, "four.test") => Deed::Fail(Rcode::SERVFAIL),
            _ => Deed::Say(vec![aaaa(&asked.name, "2001:db8::1", 60)]),
        });
        let resolver = of(ResolverSpec {
            servers: vec![fake.address],
            ..ResolverSpec::default()
        });
        // The network may keep the second back for longer than it is waited for.
        let mut both = texts(&resolver, "both.test").await;
        while both == found(&["192.0.2.1"]) {
            sleep(Duration::from_millis(10)).await;
            both = texts(&resolver, "both.test").await;
        }
        assert_eq!(both, found(&["192.0.2.1", "2001:db8::1"]));
        assert_eq!(texts(&resolver, "six.test").await, found(&["2001:db8::1"]));
        assert_eq!(texts(&resolver, "four.test").await, found(&["192.0.2.1"]));
        let before = now();
        assert_eq!(texts(&resolver, "slow.test").await, found(&["192.0.2.1"]));
        assert!(now() - before < Duration::from_secs(1));
    });
}

#[test]
fn addresses_are_given_from_every_place_of_their_list() {
    run(|| async {
        let fake = Fake::start(|asked| {
            let each = ["192.0.2.1", "192.0.2.2", "192.0.2.3"];
            Deed::Say(each.iter().map(|it| a(&asked.name, it, 60)).collect())
        });
        let resolver = resolver(&[&fake]);
        let mut first = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let addresses = texts(&resolver, "a.test").await.unwrap();
            assert_eq!(addresses.len(), 3);
            first.insert(addresses[0].clone());
        }
        assert_eq!(first.len(), 3);
        assert_eq!(fake.asked.borrow().len(), 1);
    });
}

#[test]
fn aliases_are_followed_and_circles_are_not() {
    run(|| async {
        let fake = Fake::start(|asked| {
            Deed::Say(match &asked.name[..] {
                "whole.test" => vec![
                    cname("whole.test", "middle.test", 60),
                    cname("middle.test", "end.test", 5),
                    a("end.test", "192.0.2.7", 60),
                ],
                "half.test" => vec![cname("half.test", "end.test", 60)],
                "end.test" => vec![a("end.test", "192.0.2.8", 60)],
                "circle.test" => vec![
                    cname("circle.test", "round.test", 60),
                    cname("round.test", "circle.test", 60),
                ],
                "far.test" => vec![cname("far.test", "wide.test", 60)],
                "wide.test" => vec![cname("wide.test", "far.test", 60)],
                // Nobody asked for that name.
                _ => vec![a("bank.test", "6.6.6.6", 60)],
            })
        });
        let resolver = resolver(&[&fake]);
        assert_eq!(texts(&resolver, "whole.test").await, found(&["192.0.2.7"]));
        let answer = resolver.lookup("whole.test").await.unwrap();
        assert!(answer.expires_at.unwrap() <= now() + Duration::from_secs(5));
        assert_eq!(texts(&resolver, "half.test").await, found(&["192.0.2.8"]));
        let failure = Err("2: Server failure".to_owned());
        assert_eq!(texts(&resolver, "circle.test").await, failure);
        assert_eq!(texts(&resolver, "far.test").await, failure);
        assert!(fake.asked.borrow().len() < 120);
        let nothing = Err("3: Host not found".to_owned());
        assert_eq!(texts(&resolver, "other.test").await, nothing);
        assert_eq!(texts(&resolver, "bank.test").await, found(&["6.6.6.6"]));
    });
}

#[test]
fn lies_are_left_aside() {
    run(|| async {
        let fake = Fake::start(|asked| Deed::Lie(vec![a(&asked.name, "192.0.2.1", 60)]));
        assert_eq!(
            texts(&resolver(&[&fake]), "a.test").await,
            found(&["192.0.2.1"])
        );
        assert_eq!(fake.asked.borrow().len(), 1);
    });
}

#[test]
fn what_does_not_fit_or_loses_its_letters_is_asked_for_by_tcp() {
    run(|| async {
        let fake = Fake::start(|asked| match (&asked.name[..], asked.is_tcp) {
            ("long.test", false) => Deed::Truncate,
            ("long.test", true) => {
                let each = (0..200).map(|it| a("long.test", &format!("192.0.2.{it}"), 60));
                Deed::Say(each.collect())
            }
            (name, _) => Deed::SmallLetters(vec![a(name, "192.0.2.1", 60)]),
        });
        let resolver = resolver(&[&fake]);
        assert_eq!(texts(&resolver, "long.test").await.unwrap().len(), 200);
        assert_eq!(fake.asked.borrow().len(), 2);
        assert_eq!(
            texts(&resolver, "letters.test").await,
            found(&["192.0.2.1"])
        );
        assert!(fake.asked.borrow()[3].is_tcp);
        // From then on it is known not to keep them.
        assert_eq!(
            texts(&resolver, "letters2.test").await,
            found(&["192.0.2.1"])
        );
        assert_eq!(fake.asked.borrow().len(), 5);
    });
}

#[test]
fn that_there_is_nothing_is_kept_for_a_while() {
    run(|| async {
        let fake = Fake::start(|asked| match &asked.name[..] {
            "none.test" => Deed::Nothing(Rcode::NXDOMAIN, vec![soa("test", 300)]),
            "short.test" => Deed::Nothing(Rcode::NOERROR, vec![soa("test", 3)]),
            _ => Deed::Nothing(Rcode::NXDOMAIN, Vec::new()),
        });
        let resolver = resolver(&[&fake]);
        let nothing = Err("3: Host not found".to_owned());
        for (name, seconds) in [("none.test", 10), ("short.test", 3), ("unsaid.test", 1)] {
            fake.asked.borrow_mut().clear();
            for _ in 0..3 {
                assert_eq!(texts(&resolver, name).await, nothing);
            }
            assert_eq!(fake.asked.borrow().len(), 1, "{name}");
            sleep(Duration::from_millis(seconds * 1000 + 10)).await;
            assert_eq!(texts(&resolver, name).await, nothing);
            assert_eq!(fake.asked.borrow().len(), 2, "{name}");
        }
        for name in ["", "a..b", ".", &"x".repeat(64), &"x.".repeat(130)] {
            assert_eq!(texts(&resolver, name).await, nothing, "{name}");
        }
    });
}

#[test]
fn a_server_that_is_silent_or_unable_is_followed_by_another() {
    run(|| async {
        let silent = Fake::start(|_| Deed::Silence);
        let unable = Fake::start(|_| Deed::Fail(Rcode::REFUSED));
        let broken = Fake::start(|_| Deed::Garbage);
        let able = Fake::start(|asked| Deed::Say(vec![a(&asked.name, "192.0.2.1", 1)]));
        let resolver = resolver(&[&silent, &unable, &broken, &able]);
        let before = now();
        for _ in 0..8 {
            assert_eq!(texts(&resolver, "a.test").await, found(&["192.0.2.1"]));
            sleep(Duration::from_secs(2)).await;
        }
        assert!(
            now() - before < Duration::from_secs(20),
            "the silent one is asked last"
        );
    });
}

#[test]
fn what_all_servers_refuse_is_said_in_the_words_of_nginx() {
    run(|| async {
        for (rcode, text) in [
            (Rcode::FORMERR, "1: Format error"),
            (Rcode::SERVFAIL, "2: Server failure"),
            (Rcode::NOTIMP, "4: Unimplemented"),
            (Rcode::REFUSED, "5: Operation refused"),
            (Rcode::YXDOMAIN, "6: Unknown error"),
        ] {
            let fake = Fake::start(move |_| Deed::Fail(rcode));
            let resolver = resolver(&[&fake]);
            assert_eq!(texts(&resolver, "a.test").await, Err(text.to_owned()));
        }
        let silent = Fake::start(|_| Deed::Silence);
        let before = now();
        let timed_out = Err("110: Operation timed out".to_owned());
        assert_eq!(texts(&resolver(&[&silent]), "a.test").await, timed_out);
        assert!(now() - before >= Duration::from_secs(30));
        assert!(
            silent.asked.borrow().len() >= 6,
            "it is asked again and again"
        );
    });
}

#[test]
fn a_server_that_does_not_know_edns_is_asked_without() {
    run(|| async {
        let fake = Fake::start(|asked| match asked.has_edns {
            true => Deed::Fail(Rcode::FORMERR),
            false => Deed::Say(vec![a(&asked.name, "192.0.2.1", 60)]),
        });
        let resolver = resolver(&[&fake]);
        assert_eq!(texts(&resolver, "a.test").await, found(&["192.0.2.1"]));
        assert_eq!(texts(&resolver, "b.test").await, found(&["192.0.2.1"]));
        assert_eq!(fake.asked.borrow().len(), 3);
    });
}

#[test]
fn what_was_known_is_taken_while_no_server_answers() {
    run(|| async {
        let fake = Fake::start(|asked| match asked.before {
            0 => Deed::Say(vec![a(&asked.name, "192.0.2.1", 1)]),
            1 => Deed::Fail(Rcode::SERVFAIL),
            2..10 => Deed::Silence,
            _ => Deed::Say(vec![a(&asked.name, "192.0.2.2", 60)]),
        });
        let resolver = resolver(&[&fake]);
        assert_eq!(texts(&resolver, "a.test").await, found(&["192.0.2.1"]));
        let mut answers = Vec::new();
        for _ in 0..100 {
            sleep(Duration::from_millis(1500)).await;
            let before = now();
            answers.push(texts(&resolver, "a.test").await.unwrap().remove(0));
            assert!(now() - before < Duration::from_secs(2));
        }
        assert_eq!(answers[0], "192.0.2.1");
        assert_eq!(answers[1], "192.0.2.1");
        assert_eq!(answers[99], "192.0.2.2");
    });
}

#[test]
fn who_asks_and_goes_takes_nothing_from_the_others() {
    run(|| async {
        let fake = Fake::start(|asked| {
            Deed::Late(
                Duration::from_millis(300),
                vec![a(&asked.name, "192.0.2.1", 60)],
            )
        });
        let resolver = resolver(&[&fake]);
        let first = resolver.clone();
        let goes = revolve_reactor::timeout(Duration::from_millis(20), first.lookup("a.test"));
        let other = resolver.clone();
        let stays = spawn(async move { texts(&other, "a.test").await });
        assert!(goes.await.is_err());
        assert_eq!(stays.await.unwrap(), found(&["192.0.2.1"]));
        assert_eq!(fake.asked.borrow().len(), 1);
        // Who has more time asks on when the first one's is over.
        let slow = Fake::start(|asked| match asked.before {
            0..3 => Deed::Silence,
            _ => Deed::Say(vec![a(&asked.name, "192.0.2.1", 60)]),
        });
        let resolvers = Resolvers::default();
        let spec = Arc::new(ResolverSpec {
            servers: vec![slow.address],
            ipv6: false,
            ..ResolverSpec::default()
        });
        let short = resolvers.get(&spec, Duration::from_secs(1));
        let long = resolvers.get(&spec, Duration::from_secs(60));
        let short = spawn(async move { texts(&short, "a.test").await });
        let long = spawn(async move { texts(&long, "a.test").await });
        assert_eq!(
            short.await.unwrap(),
            Err("110: Operation timed out".to_owned())
        );
        assert_eq!(long.await.unwrap(), found(&["192.0.2.1"]));
    });
}

#[test]
fn services_and_the_names_of_addresses() {
    run(|| async {
        let fake = Fake::start(|asked| {
            Deed::Say(match asked.rtype {
                Rtype::SRV => vec![
                    record(&asked.name, 60, Srv::new(1, 5, 8080, name("one.test"))),
                    record(&asked.name, 60, Srv::new(2, 0, 80, name("Two.test"))),
                ],
                _ => vec![record(&asked.name, 60, Ptr::new(name("host.test")))],
            })
        });
        let resolver = resolver(&[&fake]);
        let (targets, _) = resolver.lookup_srv("_http._tcp.a.test").await.unwrap();
        assert_eq!(targets.len(), 2);
        let first = (targets[0].priority, targets[0].weight, targets[0].port);
        assert_eq!((first, &targets[0].host[..]), ((1, 5, 8080), "one.test"));
        assert_eq!(targets[1].host, "two.test");
        let address: IpAddr = "192.0.2.9".parse().unwrap();
        assert_eq!(resolver.lookup_ptr(address).await.unwrap(), "host.test");
        assert_eq!(fake.asked.borrow()[1].name, "9.2.0.192.in-addr.arpa");
        assert_eq!(fake.count(Rtype::PTR), 1);
    });
}

#[test]
fn addresses_need_no_server() {
    run(|| async {
        let fake = Fake::start(|_| Deed::Silence);
        let resolver = resolver(&[&fake]);
        assert_eq!(texts(&resolver, "192.0.2.1").await, found(&["192.0.2.1"]));
        assert_eq!(texts(&resolver, "[::1]").await, found(&["::1"]));
        assert_eq!(texts(&resolver, "::1").await, found(&["::1"]));
        assert!(fake.asked.borrow().is_empty());
    });
}

#[test]
fn what_clients_ask_for_is_bounded() {
    run_seeds(1, || async {
        let fake = Fake::start(|asked| Deed::Say(vec![a(&asked.name, "192.0.2.1", 60)]));
        let resolver = resolver(&[&fake]);
        for index in 0..ENTRIES_MAX + 1000 {
            let known = texts(&resolver, &format!("n{index}.test")).await;
            assert_eq!(known, found(&["192.0.2.1"]));
        }
        assert!(resolver.shared.entries.borrow().len() <= ENTRIES_MAX);
        assert_eq!(resolver.shared.pending.get(), 0);
        let silent = Fake::start(|_| Deed::Silence);
        let resolver = only_v4(&[&silent], None);
        let waiting: Vec<_> = (0..PENDING_MAX)
            .map(|index| {
                let resolver = resolver.clone();
                spawn(async move { texts(&resolver, &format!("n{index}.test")).await })
            })
            .collect();
        sleep(Duration::from_millis(1)).await;
        let busy = texts(&resolver, "one.more.test").await;
        assert_eq!(busy, Err("2: Too many names are being resolved".to_owned()));
        for waiting in waiting {
            assert_eq!(
                waiting.await.unwrap(),
                Err("110: Operation timed out".to_owned())
            );
        }
        assert_eq!(resolver.shared.pending.get(), 0);
    });
}

#[test]
fn without_servers_the_files_of_the_machine_say() {
    let mut event_loop = EventLoop::new().expect("a loop");
    event_loop.block_on(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (conf, hosts) = (
            folder.path().join("resolv.conf"),
            folder.path().join("hosts"),
        );
        std::fs::write(&conf, "nameserver 127.0.0.1\nsearch in.test\n").unwrap();
        std::fs::write(&hosts, "192.0.2.3 Web\n").unwrap();
        let shared = Shared::new(ResolverSpec::default(), (&conf, &hosts));
        let shared = Rc::new(shared);
        let timeout = Duration::from_secs(10);
        let resolver = Resolver { shared, timeout };
        assert_eq!(texts(&resolver, "web").await, found(&["192.0.2.3"]));
        assert_eq!(texts(&resolver, "localhost").await, found(&["127.0.0.1"]));
        std::fs::write(&hosts, "192.0.2.44 Web\n").unwrap();
        loop {
            if texts(&resolver, "web").await == found(&["192.0.2.44"]) {
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
        let system = resolver.shared.system.as_ref().unwrap();
        assert_eq!(system.conf().candidates("a"), ["a.in.test", "a"]);
    });
}

#[test]
fn it_works_on_the_loop_of_the_machine() {
    let mut event_loop = EventLoop::new().expect("a loop");
    event_loop.block_on(async {
        let fake = Fake::start(|asked| match (&asked.name[..], asked.is_tcp) {
            ("long.test", false) => Deed::Truncate,
            ("long.test", true) => Deed::Say(vec![a(&asked.name, "192.0.2.2", 60)]),
            _ => Deed::Lie(vec![a(&asked.name, "192.0.2.1", 60)]),
        });
        let dead = SocketAddr::from(([127, 0, 0, 1], {
            let any = Address::Inet(([127, 0, 0, 1], 0).into());
            let socket = UdpSocket::bind(&any).unwrap();
            socket.local_address().unwrap().as_inet().unwrap().port()
        }));
        let resolver = of(ResolverSpec {
            servers: vec![dead, fake.address],
            ipv6: false,
            ..ResolverSpec::default()
        });
        for name in ["a.test", "b.test", "c.test"] {
            assert_eq!(
                texts(&resolver, name).await,
                found(&["192.0.2.1"]),
                "{name}"
            );
        }
        assert_eq!(texts(&resolver, "long.test").await, found(&["192.0.2.2"]));
    });
}

fn question(text: &str, kind: Kind) -> Question {
    let name = DnsName::parse(text.as_bytes()).expect("a name");
    Question { name, kind }
}

proptest! {
    /// Whatever comes is read, or is not.
    #[test]
    fn any_bytes_are_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for kind in [Kind::A, Kind::Aaaa, Kind::Srv, Kind::Ptr] {
            let query = Query::new(&question("a.test", kind), 7, u64::MAX, true);
            receive(&query, &bytes);
        }
    }

    /// Also behind a head and a question that are right.
    #[test]
    fn any_records_are_no_panic(
        counts in prop::array::uniform6(0u8..4),
        bytes in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        for kind in [Kind::A, Kind::Aaaa, Kind::Srv, Kind::Ptr] {
            let query = Query::new(&question("a.test", kind), 7, 5, false);
            let mut message = query.bytes.clone();
            message[2] |= 0x80;
            message[6..12].copy_from_slice(&counts);
            message.extend_from_slice(&bytes);
            prop_assert_ne!(receive(&query, &message), Received::OtherLetters);
        }
    }

    /// A query says what is asked, in any letters.
    #[test]
    fn queries_are_read_back(
        labels in prop::collection::vec("[a-z0-9_-]{1,20}", 1..6),
        id: u16,
        letters: u64,
        edns: bool,
    ) {
        let text = labels.join(".");
        let query = Query::new(&question(&text, Kind::A), id, letters, edns);
        let message = Message::from_octets(&query.bytes[..]).unwrap();
        prop_assert_eq!(message.header().id(), id);
        let asked = message.sole_question().unwrap();
        prop_assert!(asked.qname().to_string().eq_ignore_ascii_case(&text));
        prop_assert_eq!(message.opt().is_some(), edns);
    }
}
