//! Answers of the server as text for people.

use serde_json::Value;

use crate::version::PROGRAM;

/// `status`.
pub(super) fn status(answer: &Value) -> String {
    let master = &answer["master"];
    let configuration = &answer["configuration"];
    let listeners = answer["listeners"].as_array().into_iter().flatten();
    let listeners: Vec<&str> = listeners.filter_map(Value::as_str).collect();
    let mut out = format!(
        "{PROGRAM} {}, process {}, {} for {}\n",
        text(&answer["version"]),
        master["pid"],
        text(&answer["state"]),
        duration(&master["age_ms"]),
    );
    out.push_str(&format!(
        "configuration {} for {}: {}\n",
        configuration["generation"],
        duration(&configuration["age_ms"]),
        text(&configuration["file"]),
    ));
    out.push_str(&format!(
        "listening on {}\n",
        if listeners.is_empty() {
            "nothing".into()
        } else {
            listeners.join(", ")
        }
    ));
    out.push_str(&format!(
        "connections {} open ({} for each of {} workers), {} taken; requests {}\n\n",
        count(&answer["connections"]),
        count(&answer["worker_connections"]),
        answer["workers_wanted"],
        count(&answer["accepted"]),
        count(&answer["requests"]),
    ));
    let mut rows = vec![header(&[
        "PID", "PROCESS", "STATE", "CONF", "AGE", "CONN", "REQUESTS", "TURNS", "MEMORY", "CPU",
    ])];
    let mut row = process_row(master, "master".into(), &answer["state"]);
    row[7] = count(&master["turns"]);
    rows.push(row);
    for worker in answer["workers"].as_array().into_iter().flatten() {
        rows.push(process_row(worker, name(worker), &worker["state"]));
        let loops = worker["loops"].as_array().map(Vec::as_slice);
        let loops = loops.unwrap_or_default();
        if let [only] = loops {
            let last = rows.last_mut().expect("it was pushed just now");
            last[7] = count(&only["turns"]);
        } else {
            rows.extend(loops.iter().enumerate().map(loop_row));
        }
    }
    out.push_str(&table(&rows));
    out.push_str(&troubles(answer));
    out
}

fn name(worker: &Value) -> String {
    format!("worker {}", worker["index"])
}

fn process_row(process: &Value, name: String, state: &Value) -> Vec<String> {
    vec![
        count_plain(&process["pid"]),
        name,
        text(state).into(),
        count_plain(&process["generation"]),
        duration(&process["age_ms"]),
        count(&process["connections"]),
        count(&process["requests"]),
        String::new(),
        bytes(&process["resident_bytes"]),
        seconds(&process["cpu_ms"]),
    ]
}

fn loop_row((number, event_loop): (usize, &Value)) -> Vec<String> {
    let none = String::new;
    vec![
        none(),
        format!("  loop {number}"),
        text(&event_loop["state"]).into(),
        none(),
        none(),
        count(&event_loop["connections"]),
        count(&event_loop["requests"]),
        count(&event_loop["turns"]),
        none(),
        none(),
    ]
}

/// `workers`.
pub(super) fn workers(answer: &Value) -> String {
    let mut rows = vec![header(&[
        "PID", "PROCESS", "STATE", "KERNEL", "CONF", "AGE", "THREADS", "FILES", "PRIVATE",
        "RESIDENT", "CPU",
    ])];
    for worker in answer["workers"].as_array().into_iter().flatten() {
        rows.push(vec![
            count_plain(&worker["pid"]),
            name(worker),
            text(&worker["state"]).into(),
            text(&worker["process_state"]).into(),
            count_plain(&worker["generation"]),
            duration(&worker["age_ms"]),
            count_plain(&worker["threads"]),
            count_plain(&worker["descriptors"]),
            bytes(&worker["private_bytes"]),
            bytes(&worker["resident_bytes"]),
            seconds(&worker["cpu_ms"]),
        ]);
    }
    table(&rows)
}

/// `certificates`.
pub(super) fn certificates(answer: &Value) -> String {
    let mut rows = vec![header(&["DAYS", "NAMES", "ISSUER", "RENEWED BY", "FILE"])];
    for certificate in answer["certificates"].as_array().into_iter().flatten() {
        let names = certificate["names"].as_array().into_iter().flatten();
        let names: Vec<&str> = names.filter_map(Value::as_str).collect();
        let days = certificate["days_left"].as_i64();
        rows.push(vec![
            days.map_or("-".into(), |days| days.to_string()),
            names.join(", "),
            text(&certificate["issuer"]).into(),
            match certificate["acme_issuer"].as_str() {
                Some(issuer) => format!("acme issuer {issuer}"),
                None => "others".into(),
            },
            text(&certificate["file"]).into(),
        ]);
    }
    let table = match rows.len() {
        1 => "no certificate is named\n".into(),
        _ => table(&rows),
    };
    format!("{table}{}", troubles(answer))
}

/// `upstreams`.
pub(super) fn upstreams(answer: &Value) -> String {
    let mut rows = vec![header(&[
        "UPSTREAM", "SERVER", "ADDRESS", "STATE", "WEIGHT", "CONN", "IDLE", "REQUESTS", "FAILURES",
    ])];
    for group in answer["upstreams"].as_array().into_iter().flatten() {
        for peer in group["peers"].as_array().into_iter().flatten() {
            let state = match peer["backup"].as_bool() {
                Some(true) => format!("{}, backup", text(&peer["state"])),
                _ => text(&peer["state"]).into(),
            };
            rows.push(vec![
                text(&group["name"]).into(),
                text(&peer["server"]).into(),
                text(&peer["address"]).into(),
                state,
                count_plain(&peer["weight"]),
                count(&peer["connections"]),
                count(&peer["idle"]),
                count(&peer["requests"]),
                count(&peer["failures"]),
            ]);
        }
    }
    match rows.len() {
        1 => format!("no requests are passed on\n{}", troubles(answer)),
        _ => format!("{}{}{}", table(&rows), budgets(answer), troubles(answer)),
    }
}

/// A line for each group that has a budget for repetitions.
fn budgets(answer: &Value) -> String {
    let groups = answer["upstreams"].as_array().into_iter().flatten();
    let lines = groups
        .filter(|group| group["retry_budget"].is_object())
        .map(|group| {
            let (name, budget) = (text(&group["name"]), &group["retry_budget"]);
            let part = |name: &str| count_plain(&budget[name]);
            format!(
                "{name}: {} retries of {} requests lately, at most {}% or {}; {} refused\n",
                part("retries"),
                part("requests"),
                part("percent"),
                part("min"),
                part("refused"),
            )
        });
    lines.collect()
}

/// `connections`.
pub(super) fn connections(answer: &Value) -> String {
    let mut rows = vec![header(&[
        "PID", "NUMBER", "CLIENT", "LISTENER", "STATE", "AGE", "IDLE", "REQUESTS", "RECEIVED",
        "SENT",
    ])];
    let mut left_out = String::new();
    for worker in answer["workers"].as_array().into_iter().flatten() {
        let listed = worker["listed"].as_array().map(Vec::as_slice);
        let listed = listed.unwrap_or_default();
        rows.extend(listed.iter().map(|connection| {
            vec![
                count_plain(&worker["pid"]),
                format!("*{}", connection["number"]),
                text(&connection["peer"]).into(),
                text(&connection["listener"]).into(),
                text(&connection["state"]).into(),
                duration(&connection["age_ms"]),
                duration(&connection["idle_ms"]),
                count(&connection["requests"]),
                bytes(&connection["received_bytes"]),
                bytes(&connection["sent_bytes"]),
            ]
        }));
        let open = worker["connections"].as_u64().unwrap_or(0);
        if let Some(more) = open.checked_sub(listed.len() as u64).filter(|&it| it > 0) {
            left_out.push_str(&format!(
                "worker process {}: {more} more connections are open, \"--max\" shows more\n",
                worker["pid"]
            ));
        }
    }
    let table = if rows.len() == 1 {
        "no connection is open\n".into()
    } else {
        table(&rows)
    };
    format!("{table}{left_out}{}", troubles(answer))
}

/// `reload`.
pub(super) fn reload(answer: &Value) -> String {
    let serving = answer["workers_serving"].as_u64().unwrap_or(0);
    let workers = if serving == 1 { "worker" } else { "workers" };
    let mut out = format!(
        "{PROGRAM}: configuration {} is in force in {serving} {workers}",
        answer["generation"]
    );
    if let Some(leaving) = answer["workers_leaving"].as_u64().filter(|&it| it > 0) {
        out.push_str(&format!(", {leaving} of before finish their requests"));
    }
    let changes = answer["changes"].as_array().map(Vec::as_slice);
    let changes = changes.unwrap_or_default();
    if changes.is_empty() {
        out.push_str("; nothing in it differs");
    }
    out.push('\n');
    for change in changes {
        let (kind, what) = (text(&change["kind"]), text(&change["text"]));
        out.push_str(&format!("  {kind:<8} {what}\n"));
    }
    out.push_str(&troubles(answer));
    out
}

/// What is not as it should be, a line each.
fn troubles(answer: &Value) -> String {
    let workers = answer["workers"].as_array().into_iter().flatten();
    let of_workers = workers.filter_map(|worker| {
        let trouble = worker["trouble"].as_str()?;
        Some(format!("worker process {} {trouble}\n", worker["pid"]))
    });
    let others = answer["trouble"].as_array().into_iter().flatten();
    let others = others.map(|trouble| format!("{}\n", text(trouble)));
    of_workers.chain(others).collect()
}

fn header(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Columns as wide as what stands in them; numbers to the right, words to the left.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let is_words = |column: usize| {
        let cells = rows.iter().skip(1).filter_map(|row| row.get(column));
        let mut cells = cells.filter_map(|cell| cell.trim_start().chars().next());
        cells.any(|first| first.is_ascii_alphabetic() || first == '/')
    };
    let shape: Vec<(usize, bool)> = (0..columns).map(|it| (width(it), is_words(it))).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, &(width, is_words)) in row.iter().zip(&shape) {
            if is_words {
                line.push_str(&format!("{cell:<width$}  "));
            } else {
                line.push_str(&format!("{cell:>width$}  "));
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

/// A number in groups of three; a dash for none.
fn count(value: &Value) -> String {
    let Some(number) = value.as_u64() else {
        return "-".into();
    };
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number that stands for something, and is not counted.
fn count_plain(value: &Value) -> String {
    value.as_u64().map_or("-".into(), |it| it.to_string())
}

fn bytes(value: &Value) -> String {
    let Some(bytes) = value.as_u64() else {
        return "-".into();
    };
    let mut amount = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if amount < 1024.0 {
            let digits = usize::from(unit != "B");
            return format!("{amount:.digits$} {unit}");
        }
        amount /= 1024.0;
    }
    format!("{amount:.1} TiB")
}

fn seconds(value: &Value) -> String {
    let ms = value.as_u64();
    ms.map_or("-".into(), |ms| {
        format!("{}.{:02} s", ms / 1000, ms % 1000 / 10)
    })
}

/// The two largest units.
fn duration(value: &Value) -> String {
    let Some(ms) = value.as_u64() else {
        return "-".into();
    };
    let (s, min, h, d) = (ms / 1000, ms / 60_000, ms / 3_600_000, ms / 86_400_000);
    match () {
        () if d > 0 => format!("{d} d {} h", h % 24),
        () if h > 0 => format!("{h} h {} min", min % 60),
        () if min > 0 => format!("{min} min {} s", s % 60),
        () if s > 0 => format!("{s} s"),
        () => format!("{ms} ms"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_readable() {
        for (number, shown) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1234567, "1,234,567"),
        ] {
            assert_eq!(count(&json!(number)), shown);
        }
        for (number, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (5 << 20, "5.0 MiB"),
        ] {
            assert_eq!(bytes(&json!(number)), shown);
        }
        for (ms, shown) in [
            (999, "999 ms"),
            (59_999, "59 s"),
            (61_000, "1 min 1 s"),
            (3_600_000, "1 h 0 min"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(duration(&json!(ms)), shown);
        }
        assert_eq!(seconds(&json!(12_345)), "12.34 s");
        assert_eq!([count(&Value::Null), bytes(&Value::Null)], ["-", "-"]);
    }

    #[test]
    fn words_stand_left_and_numbers_right() {
        let rows = [
            header(&["PID", "NAME", "N"]),
            vec!["7".into(), "a".into(), "1,000".into()],
            vec!["1234".into(), "worker".into(), "5".into()],
        ];
        assert_eq!(
            table(&rows),
            " PID  NAME        N\n   7  a       1,000\n1234  worker      5\n"
        );
    }

    #[test]
    fn an_answer_of_another_version_is_shown_as_far_as_it_goes() {
        let shown = status(&json!({"workers": [{"pid": 5}, {}], "listeners": 3}));
        assert!(shown.contains("listening on nothing"), "{shown}");
        assert!(connections(&json!({})).contains("no connection is open"));
        assert!(reload(&json!({})).contains("nothing in it differs"));
        assert!(workers(&json!({"workers": [null]})).contains('-'));
        assert!(certificates(&json!({})).contains("no certificate"));
        assert!(certificates(&json!({"certificates": [{}]})).contains('-'));
    }
}
