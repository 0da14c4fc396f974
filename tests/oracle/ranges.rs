//! RFC 9110 section 14: ranges, one and many, and `If-Range`.

use super::conditionals::Validators;
use super::pair::compare_requests;
use super::request::{Request, get, head};

const RANGES: &[&str] = &[
    "bytes=0-0",
    "bytes=-3",
    "bytes=4-",
    "bytes=0-2,5-6",
    "bytes=0-100",
    "bytes=10-",
    "bytes=-0",
    "bytes=abc",
    "bytes=5-2",
    "bytes= 1 - 2 ",
    "items=0-1",
    "bytes=0-9,0-9",
    "bytes=0-1,",
    "bytes=,0-1",
    "bytes=-100",
    "bytes=0-1,100-200",
    "bytes=99999999999999999999-",
    "bytes=0-99999999999999999999",
    "Bytes=0-1",
    "bytes=1-1,2-2,3-3",
    "bytes=",
    "bytes",
    "",
    "bytes=-",
    "bytes=0",
    "bytes=0-1-2",
    "bytes=0-1 , 4-5",
    "bytes=0-1;4-5",
    "bytes=9-9",
    "bytes=9-",
    "bytes=+1-2",
    "bytes=0x1-2",
    "bytes=100-,200-",
    "bytes=5-,-2",
    "bytes=-1,-2,-3",
    "BYTES=0-1",
    "bytes =0-1",
    "bytes= 0-1",
    "bytes=9223372036854775807-",
    "bytes=-9223372036854775808",
    "bytes=0-0,2-2,4-4,6-6,8-8",
    "bytes=8-9,0-1",
    "bytes=307199-",
    "bytes=307200-",
    "bytes=1000-2000,100000-200000",
];

#[test]
fn ranges_are_cut_as_by_nginx() {
    let paths = [
        "/small.txt",
        "/big.bin",
        "/empty.txt",
        "/mr0/small.txt",
        "/mr1/small.txt",
        "/exact",
        "/hd/small.txt",
        "/sendfile/big.bin",
        "/nope",
        "/a",
    ];
    let each = |range: &&str| -> Vec<Request> {
        let line = format!("Range: {range}");
        let mut requests: Vec<Request> = paths
            .iter()
            .map(|path| get(*path).line(line.clone()))
            .collect();
        requests.push(head("/small.txt").line(line.clone()));
        requests.push(get("/small.txt").line(line.clone()).http_10());
        requests.push(
            get("/small.txt")
                .line(line.clone())
                .line("Range: bytes=0-0"),
        );
        requests
    };
    compare_requests(RANGES.iter().flat_map(each));
}

#[test]
fn if_range_decides_as_in_nginx() {
    super::conditionals::compare_with_validators(|Validators { etag, modified }| {
        let conditions = [
            etag.to_owned(),
            format!("W/{etag}"),
            modified.to_owned(),
            "\"x\"".into(),
            "Thu, 01 Jan 1970 00:00:00 GMT".into(),
            "Thu, 01 Jan 2037 00:00:00 GMT".into(),
            "junk".into(),
            String::new(),
            format!(" {etag} "),
        ];
        let mut requests = Vec::new();
        for condition in &conditions {
            for path in ["/small.txt", "/noetag/small.txt", "/exact"] {
                for range in ["bytes=0-0", "bytes=2-3,5-", "bytes=100-"] {
                    let request = get(path).line(format!("Range: {range}"));
                    requests.push(request.line(format!("If-Range: {condition}")));
                }
            }
        }
        requests
    });
}
