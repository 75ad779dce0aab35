//! The report: its schema, its one line, and bytes in JSON.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn schema() -> Value {
    serde_json::from_str(include_str!("../../schema/report-1.json")).unwrap()
}

fn minimal() -> Report {
    Report::from_error(&Error::new(ErrorKind::Setup, "mount /x"), ["ls", "-l"])
}

fn filled() -> Report {
    let text = |bytes: &[u8]| Some(Text::new(bytes));
    let stream = |tail| Stream { total_bytes: 9, omitted_bytes: 2, head: text(b"head"), tail };
    let layer = LayerStatus {
        requested: true,
        applied: true,
        witnessed: true,
        detail: Some("ABI 7, 24 rules".into()),
        reason: Some("none".into()),
    };
    let error = Error::new(ErrorKind::Setup, "mount /x").with_hint("do").with_step("init 3").with_errno(22);
    Report {
        profile: ProfileId { name: "strict".into(), digest: "0".repeat(64) },
        exit: Some(Exit { code: Some(1), signal: None, core_dumped: false }),
        verdict: Verdict {
            kind: VerdictKind::Memory,
            limit: Some(512 << 20),
            observed: Some(512 << 20),
            unit: Some(Unit::Bytes),
            evidence: vec!["memory.events oom_kill +1".into()],
        },
        limits_hit: vec![LimitHit { limit: "memory".into(), evidence: "memory.events oom_kill +1".into() }],
        time: Time { wall_ms: 1, user_ms: Some(1), system_ms: Some(1), cpu_ms: Some(2), source: Some(Source::Cgroup) },
        memory: Memory { peak_bytes: Some(1), source: Some(Source::ProcfsSampled), oom_kills: Some(1) },
        tasks: Tasks { peak: Some(1), source: Some(Source::Procfs), refused_forks: Some(1) },
        io: Io {
            read_bytes: Some(1),
            write_bytes: Some(1),
            storage_read_bytes: Some(1),
            storage_write_bytes: Some(1),
            source: Some(Source::Rusage),
            storage_source: Some(Source::Cgroup),
        },
        sched: Sched { voluntary_switches: Some(1), involuntary_switches: Some(1), throttled_ms: Some(1) },
        faults: Faults { minor: Some(1), major: Some(1) },
        output: OutputReport { stdout: stream(text(&[0xff])), stderr: stream(text(b"tail")) },
        posture: Posture {
            kernel: "6.1.0".into(),
            landlock_abi: 7,
            isolation: Some(Isolation::Full),
            layers: [("landlock".to_owned(), layer)].into(),
            degraded: vec!["cgroup.cpu".into()],
        },
        setup: Some(Setup { plan_us: 1, prepare_us: 1, clone_us: 1, child_us: 1, teardown_us: 1 }),
        ..Report::from_error(&error, ["ls"])
    }
}

#[test]
fn reports_are_as_the_schema_says() {
    let schema = schema();
    jsonschema::meta::validate(&schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for report in [minimal(), filled()] {
        let json = serde_json::to_value(&report).unwrap();
        let errors: Vec<String> = validator.iter_errors(&json).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(serde_json::from_value::<Report>(json).unwrap(), report);
    }
    let mut strange = serde_json::to_value(minimal()).unwrap();
    strange["more"] = json!(1);
    assert!(!validator.is_valid(&strange));
}

/// The paths of all fields that the schema has under `node`, and those without description.
fn walk(schema: &Value, node: &Value, path: &str, fields: &mut BTreeSet<String>, silent: &mut Vec<String>) {
    if let Some(name) = node["$ref"].as_str() {
        return walk(schema, &schema["$defs"][name.trim_start_matches("#/$defs/")], path, fields, silent);
    }
    if node["type"] == "object" {
        assert!(!node["additionalProperties"].is_null(), "{path} is open");
    }
    for (name, property) in node["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        if property["description"].as_str().unwrap_or_default().is_empty() {
            silent.push(path.clone());
        }
        fields.insert(path.clone());
        walk(schema, property, &path, fields, silent);
    }
    for (key, name) in [("items", "[]"), ("additionalProperties", "{}")] {
        if node[key].is_object() {
            walk(schema, &node[key], &format!("{path}{name}"), fields, silent);
        }
    }
}

fn fields_of(value: &Value, path: &str, fields: &mut BTreeSet<String>) {
    if let Some(object) = value.as_object() {
        for (name, value) in object {
            let path = if path == ".posture.layers" { format!("{path}{{}}") } else { format!("{path}.{name}") };
            if !path.ends_with("{}") {
                fields.insert(path.clone());
            }
            fields_of(value, &path, fields);
        }
    }
    for item in value.as_array().into_iter().flatten() {
        fields_of(item, &format!("{path}[]"), fields);
    }
}

#[test]
fn the_schema_has_every_field_described_and_none_that_no_report_has() {
    let schema = schema();
    let (mut known, mut silent, mut written) = (BTreeSet::new(), Vec::new(), BTreeSet::new());
    walk(&schema, &schema, "", &mut known, &mut silent);
    assert!(silent.is_empty(), "{silent:?}");
    fields_of(&serde_json::to_value(filled()).unwrap(), "", &mut written);
    // A program ended by a code or by a signal; `filled` has a code.
    written.insert(".exit.signal".to_owned());
    assert_eq!(known, written);
}

#[test]
fn one_line_when_jail_ended_the_run() {
    let line = |kind, limit: Option<(u64, Unit)>, wall_ms, exit_code| {
        let mut report = minimal();
        report.verdict.kind = kind;
        report.verdict.limit = limit.map(|(limit, _)| limit);
        report.verdict.unit = limit.map(|(_, unit)| unit);
        report.time.wall_ms = wall_ms;
        report.memory.peak_bytes = Some(512 << 20);
        report.exit_code = exit_code;
        report.summary_line()
    };
    use VerdictKind as V;
    for (kind, limit, wall, code, expected) in [
        (
            V::Memory,
            Some((512 << 20, Unit::Bytes)),
            1200,
            137,
            "memory limit 512 MiB reached after 1.2 s (peak 512 MiB)",
        ),
        (V::WallTime, Some((30_000, Unit::Ms)), 30_012, 124, "wall time limit 30 s reached"),
        (V::CpuTime, Some((10_000, Unit::Ms)), 12_345, 124, "CPU time limit 10 s reached after 12.3 s"),
        (V::Output, Some((64 << 20, Unit::Bytes)), 380, 153, "output limit 64 MiB reached after 0.4 s"),
        (V::FileSize, Some((64 << 20, Unit::Bytes)), 449, 153, "file size limit 64 MiB reached after 0.4 s"),
        (V::FileSize, None, 0, 153, "file size limit reached after 0.0 s"),
        (V::SyscallKilled, None, 99, 159, "system call refused by the filter: the program was killed after 0.1 s"),
        (V::Cancelled, None, 2000, 130, "cancelled by SIGINT after 2.0 s"),
        (V::Cancelled, None, 2000, 143, "cancelled by SIGTERM after 2.0 s"),
        (V::Cancelled, None, 2000, 137, "cancelled after 2.0 s"),
    ] {
        assert_eq!(line(kind, limit, wall, code).as_deref(), Some(expected));
    }
    for kind in [V::InternalError, V::ExecFailed, V::Signaled, V::NonzeroExit, V::Ok] {
        assert_eq!(line(kind, None, 1, 1), None);
    }
}

#[test]
fn peaks_are_rounded() {
    for (bytes, expected) in [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        ((512 << 20) - 4096, "512 MiB"),
        ((512 << 20) - 100_000, "511.9 MiB"),
        (3 << 30, "3 GiB"),
        (u64::MAX, "17179869184 GiB"),
    ] {
        assert_eq!(rounded(bytes), expected);
    }
}

#[test]
fn an_error_before_the_run_is_a_report() {
    let report = minimal();
    assert_eq!((report.exit_code, report.verdict.kind), (125, VerdictKind::InternalError));
    assert_eq!(report.error.unwrap().message, "mount /x");
    assert_eq!(report.argv, ["ls", "-l"]);
    let missing = Report::from_error(&Error::new(ErrorKind::NotFound, "x: not found"), ["x"]);
    assert_eq!((missing.exit_code, missing.verdict.kind), (127, VerdictKind::ExecFailed));
}

#[test]
fn times_are_rfc3339() {
    let at = |seconds, millis| rfc3339(UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(millis));
    for (seconds, expected) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_399, "2000-02-28T23:59:59.000Z"),
        (951_782_400, "2000-02-29T00:00:00.000Z"),
        (951_868_800, "2000-03-01T00:00:00.000Z"),
        (1_767_225_599, "2025-12-31T23:59:59.000Z"),
        (4_107_542_400, "2100-03-01T00:00:00.000Z"),
    ] {
        assert_eq!(at(seconds, 0), expected);
    }
    assert_eq!(at(1, 7), "1970-01-01T00:00:01.007Z");
}

proptest! {
    #[test]
    fn bytes_survive(head: Vec<u8>, tail: Option<Vec<u8>>) {
        let text = |bytes: &Vec<u8>| Text::new(bytes);
        let stream = Stream { head: Some(text(&head)), tail: tail.as_ref().map(text), ..Stream::default() };
        let json = serde_json::to_string(&stream).unwrap();
        let again: Stream = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(again.bytes(), [head, tail.unwrap_or_default()].concat());
    }

    #[test]
    fn dates_go_on_day_by_day(day in 0_u64..2_000_000) {
        let ((year, month, this), next) = (date(day), date(day + 1));
        let follows = next == (year, month, this + 1) || next == (year, month + 1, 1) || next == (year + 1, 1, 1);
        prop_assert!(follows && this <= 31 && month <= 12, "{:?} {:?}", date(day), next);
    }
}
