//! DNS messages (RFC 1035, RFC 6891) as the resolver asks and reads them. Pure; whatever a server
//! sends gives a reply or says what it is not.

use std::net::IpAddr;

use domain::base::iana::{Class, Opcode, Rcode, Rtype};
use domain::base::name::{NameBuilder, ToName};
use domain::base::wire::ParseError;
use domain::base::{Message, MessageBuilder, Name, ParsedName, Record};
use domain::rdata::{A, Aaaa, Cname, Ptr, Soa, Srv};

/// Names that one answer may lead through, as in nginx.
pub(super) const CHAIN_MAX: usize = 50;
/// Records of one answer that are kept; the rest of them is left.
const RECORDS_MAX: usize = 256;
/// What a datagram may be long: fragments get lost (RFC 9715).
const DATAGRAM_BYTES_MAX: u16 = 1232;

/// A name in the form of the wire, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct DnsName(Vec<u8>);

impl DnsName {
    /// A host name as people write it; a dot at its end may stand. `None` for what is none: empty
    /// labels, one of more than 63 bytes, more than 255 in all.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let text = text.strip_suffix(b".").unwrap_or(text);
        let mut name = NameBuilder::new_vec();
        for label in text.split(|byte| *byte == b'.') {
            if label.is_empty() {
                return None;
            }
            name.append_label(&label.to_ascii_lowercase()).ok()?;
        }
        let name = name.into_name().ok()?;
        Some(Self(name.into_octets()))
    }

    /// The name under which the name of an address is asked for (RFC 1035, 3.5; RFC 3596, 2.5).
    pub(super) fn reverse(address: IpAddr) -> Self {
        let name = Name::<Vec<u8>>::reverse_from_addr(address);
        Self(
            name.expect("it is shorter than a name may be")
                .into_octets(),
        )
    }

    fn of(name: &impl ToName) -> Self {
        let mut name: Name<Vec<u8>> = name.to_vec();
        name.make_canonical();
        Self(name.into_octets())
    }

    /// As people write it, without the dot at the end.
    pub(super) fn text(&self) -> String {
        let name = Name::from_slice(&self.0);
        name.map(ToString::to_string).unwrap_or_default()
    }
}

/// What is asked of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    A,
    Aaaa,
    Srv,
    Ptr,
}

impl Kind {
    fn rtype(self) -> Rtype {
        match self {
            Kind::A => Rtype::A,
            Kind::Aaaa => Rtype::AAAA,
            Kind::Srv => Rtype::SRV,
            Kind::Ptr => Rtype::PTR,
        }
    }
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Question {
    pub(super) name: DnsName,
    pub(super) kind: Kind,
}

/// A question as it was sent.
#[derive(Debug)]
pub(super) struct Query {
    id: u16,
    /// The name with its letters as they were sent.
    name: Vec<u8>,
    kind: Kind,
    pub(super) bytes: Vec<u8>,
}

impl Query {
    /// A query. Which letters of the name are large is drawn from `letters`, so that an answer proves
    /// that its sender has seen it (draft-vixie-dnsext-dns0x20); all are small where that is 0.
    pub(super) fn new(question: &Question, id: u16, letters: u64, with_edns: bool) -> Self {
        let mut name = question.name.0.clone();
        let mut bits = letters;
        for byte in name.iter_mut().filter(|byte| byte.is_ascii_lowercase()) {
            if bits & 1 == 1 {
                byte.make_ascii_uppercase();
            }
            bits = bits.rotate_right(1);
        }
        let mut builder = MessageBuilder::new_vec();
        builder.header_mut().set_id(id);
        builder.header_mut().set_rd(true);
        let mut asked = builder.question();
        let sent = Name::from_slice(&name).expect("a name stays one in large letters");
        let pushed = asked.push((sent, question.kind.rtype()));
        let mut additional = asked.additional();
        let extended = match with_edns {
            true => additional.opt(|opt| {
                opt.set_udp_payload_size(DATAGRAM_BYTES_MAX);
                Ok(())
            }),
            false => Ok(()),
        };
        pushed.and(extended).expect("a message holds a question");
        Self {
            id,
            kind: question.kind,
            bytes: additional.finish(),
            name,
        }
    }
}

/// A service (RFC 2782).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) priority: u16,
    pub(super) weight: u16,
    pub(super) port: u16,
    pub(super) target: DnsName,
}

/// The data of a record that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Data {
    Address(IpAddr),
    Service(Service),
    Name(String),
}

/// What a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    /// Its code (RFC 1035, 4.1.1).
    pub(super) rcode: u8,
    /// The records of the name, or of the one that it leads to.
    pub(super) data: Vec<Data>,
    /// How long that holds, in seconds; of no data, where the zone says so.
    pub(super) ttl_s: Option<u32>,
    /// Whom to ask further, where the answer leads to a name and says nothing of that.
    pub(super) leads_to: Option<DnsName>,
}

/// What came for a query.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// Its answer.
    Reply(Reply),
    /// What may be its answer, of a server that does not keep large letters or of a liar.
    OtherLetters,
    /// Its answer does not fit into a datagram.
    Truncated,
    /// Its answer, which nobody can read.
    Malformed,
    /// Something else.
    Foreign,
}

/// Reads what came for a query.
pub(super) fn receive(query: &Query, bytes: &[u8]) -> Received {
    let Ok(message) = Message::from_octets(bytes) else {
        return Received::Foreign;
    };
    let header = message.header();
    if !header.qr() || header.id() != query.id || header.opcode() != Opcode::QUERY {
        return Received::Foreign;
    }
    let rcode = header.rcode();
    if message.header_counts().qdcount() == 0 && rcode == Rcode::FORMERR {
        // Who cannot read a query may not be able to repeat it.
        return Received::Reply(Reply::failure(rcode.to_int()));
    }
    let Ok(question) = message.sole_question() else {
        return Received::Foreign;
    };
    let asked: Name<Vec<u8>> = question.qname().to_vec();
    if question.qtype() != query.kind.rtype()
        || question.qclass() != Class::IN
        || !asked.as_slice().eq_ignore_ascii_case(&query.name)
    {
        return Received::Foreign;
    }
    if asked.as_slice() != query.name {
        return Received::OtherLetters;
    }
    if header.tc() {
        return Received::Truncated;
    }
    match rcode {
        Rcode::NOERROR | Rcode::NXDOMAIN => match read_records(&message, query.kind, &asked) {
            Ok(reply) => Received::Reply(reply),
            Err(_) => Received::Malformed,
        },
        _ => Received::Reply(Reply::failure(rcode.to_int())),
    }
}

impl Reply {
    /// An answer that is none, with its code.
    pub(super) fn failure(rcode: u8) -> Self {
        Self {
            rcode,
            data: Vec::new(),
            ttl_s: None,
            leads_to: None,
        }
    }
}

type Parsed<'a> = ParsedName<&'a [u8]>;

/// Follows the chain of names in an answer from the one that was asked for.
fn read_records(
    message: &Message<&[u8]>,
    kind: Kind,
    asked: &Name<Vec<u8>>,
) -> Result<Reply, ParseError> {
    let mut aliases: Vec<(DnsName, DnsName, u32)> = Vec::new();
    let mut found: Vec<(DnsName, Data, u32)> = Vec::new();
    for record in message.answer()? {
        let record = record?;
        if record.class() != Class::IN || aliases.len() + found.len() >= RECORDS_MAX {
            continue;
        }
        let owner = DnsName::of(&record.owner());
        let ttl_s = record.ttl().as_secs();
        if record.rtype() == Rtype::CNAME {
            let alias: Option<Record<_, Cname<Parsed<'_>>>> = record.to_record()?;
            let target = alias.map(|alias| DnsName::of(alias.data().cname()));
            aliases.extend(target.map(|target| (owner, target, ttl_s)));
        } else if record.rtype() == kind.rtype() {
            let data = match kind {
                Kind::A => record
                    .to_record::<A>()?
                    .map(|it| it.data().addr().into())
                    .map(Data::Address),
                Kind::Aaaa => {
                    let record = record.to_record::<Aaaa>()?;
                    record.map(|it| Data::Address(it.data().addr().into()))
                }
                Kind::Srv => {
                    let record = record.to_record::<Srv<Parsed<'_>>>()?;
                    record.map(|it| Data::Service(service(it.data())))
                }
                Kind::Ptr => {
                    let record = record.to_record::<Ptr<Parsed<'_>>>()?;
                    record.map(|it| Data::Name(DnsName::of(it.data().ptrdname()).text()))
                }
            };
            found.extend(data.map(|data| (owner, data, ttl_s)));
        }
    }
    let mut name = DnsName::of(asked);
    let mut ttl_s = u32::MAX;
    for _ in 0..=CHAIN_MAX {
        let mut data = Vec::new();
        for (_, it, lives_s) in found.iter().filter(|(owner, ..)| *owner == name) {
            ttl_s = ttl_s.min(*lives_s);
            if !data.contains(it) {
                data.push(it.clone());
            }
        }
        if !data.is_empty() {
            return Ok(Reply {
                rcode: 0,
                data,
                ttl_s: Some(ttl_s),
                leads_to: None,
            });
        }
        match aliases.iter().find(|(owner, ..)| *owner == name) {
            Some((_, target, lives_s)) => {
                ttl_s = ttl_s.min(*lives_s);
                name = target.clone();
            }
            None => return nothing(message, name, asked, ttl_s),
        }
    }
    Err(ParseError::form_error("a chain of names that does not end"))
}

/// An answer without data: whether there is none, or another is to be asked.
fn nothing(
    message: &Message<&[u8]>,
    name: DnsName,
    asked: &Name<Vec<u8>>,
    alias_ttl_s: u32,
) -> Result<Reply, ParseError> {
    let mut ttl_s = None;
    for record in message.authority()? {
        let record = record?;
        if let Some(soa) = record.to_record::<Soa<Parsed<'_>>>()? {
            let lives_s = soa.ttl().as_secs().min(soa.data().minimum().as_secs());
            ttl_s = Some(lives_s);
        }
    }
    let rcode = message.header().rcode();
    // A server that does not go on by itself says nothing of the name that this one leads to.
    let is_open = rcode == Rcode::NOERROR && ttl_s.is_none() && name != DnsName::of(asked);
    Ok(Reply {
        rcode: rcode.to_int(),
        data: Vec::new(),
        ttl_s: if is_open { Some(alias_ttl_s) } else { ttl_s },
        leads_to: is_open.then_some(name),
    })
}

fn service(data: &Srv<Parsed<'_>>) -> Service {
    Service {
        priority: data.priority(),
        weight: data.weight(),
        port: data.port(),
        target: DnsName::of(data.target()),
    }
}
