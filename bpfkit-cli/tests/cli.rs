//! The command, as people call it: output, files and exit status.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const OBJECT: &str = "examples/dispatch.bpf.o";
const CAPTURE: &str = "examples/mixed.pcap";
const REFUSED: &str = "tests/objects/refused.bpf.o";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn bpfkit(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bpfkit")).current_dir(root()).args(args).output().unwrap()
}

fn with_input(args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_bpfkit"))
        .current_dir(root())
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

/// A file of this test's own.
fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The JSON report of a run on the example's capture.
fn run(extra: &[&str]) -> Value {
    let mut args = vec!["run", OBJECT, "--pcap", CAPTURE, "--json"];
    args.extend(extra);
    let output = bpfkit(&args);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    serde_json::from_str(&stdout(&output)).unwrap()
}

/// Without what differs from run to run.
fn settled(mut report: Value) -> Value {
    report["ns_per_packet"] = Value::Null;
    report["engine"] = Value::Null;
    report
}

fn program(report: &Value, name: &str) -> Value {
    let programs = report["programs"].as_array().unwrap();
    programs.iter().find(|program| program["name"] == name).unwrap().clone()
}

#[test]
fn the_main_job_prints_verdicts_programs_and_maps() {
    let output =
        bpfkit(&["run", OBJECT, "--pcap", CAPTURE, "--map-entries", "3", "--engine", "interp"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"[0-9.]+ ns per packet", "N ns per packet");
    settings.add_filter(r"(?m) \| \{.*$", " | ...");
    settings.bind(|| insta::assert_snapshot!("run", stdout(&output)));
}

#[test]
fn both_engines_report_the_same() {
    let reports = ["interp", "auto"].map(|engine| settled(run(&["--engine", engine])));
    assert_eq!(reports[0], reports[1]);
    assert_eq!(reports[0]["packets"], 2796);
    assert_eq!(reports[0]["verdicts"]["XDP_DROP"]["packets"], 256);
    assert_eq!(program(&reports[0], "dispatch")["runs"], 2796);
}

#[test]
fn when_programs_are_compiled_changes_nothing_of_what_they_do() {
    for extra in [&[][..], &["--repeat", "3"], &["--tail", "ports[53]=http"]] {
        let with = |jit: &str| settled(run(&[&["--jit", jit], extra].concat()));
        let eager = with("eager");
        assert_eq!(eager, with("background"), "{extra:?}");
        assert_eq!(eager, with("off"), "{extra:?}");
    }
    assert_eq!(run(&["--jit", "off"])["engine"], "interp");
    // Words for people too.
    let words = |jit: &str| {
        let output = bpfkit(&["run", OBJECT, "--pcap", CAPTURE, "--jit", jit]);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        let text = stdout(&output);
        let (speed, rest): (Vec<_>, Vec<_>) =
            text.lines().partition(|line| line.contains("ns per packet"));
        assert_eq!(speed.len(), 1);
        rest.join("\n")
    };
    assert_eq!(words("eager"), words("background"));
    assert_eq!(words("eager"), words("off"));
}

#[test]
fn a_slot_can_be_emptied_and_filled_from_outside() {
    let emptied = run(&["--tail", "protocols[1]="]);
    assert_eq!(program(&emptied, "parse_icmp")["runs"], 0);
    let moved = run(&["--tail", "ports[53]=http", "--tail", "ports[80]=dns"]);
    let usual = run(&[]);
    assert_eq!(program(&moved, "http")["runs"], program(&usual, "dns")["runs"]);
}

#[test]
fn compiled_code_is_kept_in_a_directory() {
    let folder = scratch("code-cache");
    let _ = std::fs::remove_dir_all(&folder);
    let with_cache = |folder: &Path| run(&["--code-cache", text(folder)]);
    let (cold, warm) = (with_cache(&folder), with_cache(&folder));
    if cold["engine"] == "jit" {
        let programs = cold["programs"].as_array().unwrap().len();
        assert_eq!(cold["code_cache"]["misses"], programs);
        assert_eq!(warm["code_cache"]["misses"], 0);
        assert_eq!(warm["code_cache"]["hits"], programs);
    }
    let without_cache = |mut report: Value| {
        report["code_cache"] = Value::Null;
        settled(report)
    };
    assert_eq!(without_cache(cold), without_cache(warm));
    // Where others may write, nothing is taken from.
    if cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
        let args = ["run", OBJECT, "--pcap", CAPTURE, "--code-cache", text(&folder)];
        let output = bpfkit(&args);
        assert_eq!(code(&output), 2);
        let said = stderr(&output);
        assert!(
            said.contains("--code-cache: code in ") && said.contains("may write to it"),
            "{said}"
        );
    }
}

#[test]
fn a_global_variable_can_be_set_before_the_object_is_loaded() {
    let report = run(&["--set", "drop_protocol=6"]);
    assert_eq!(report["verdicts"]["XDP_DROP"]["packets"], 1560);
    let output = bpfkit(&["run", OBJECT, "--pcap", CAPTURE, "--set", "no_such=1"]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("no_such"), "{}", stderr(&output));
}

#[test]
fn what_passes_is_written_as_the_program_left_it() {
    let out = scratch("passed.pcap");
    run(&["--out", text(&out)]);
    let bytes = std::fs::read(&out).unwrap();
    let mut rest = &bytes[24..];
    let (mut packets, mut marked) = (0, 0);
    while !rest.is_empty() {
        let len = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        let packet = &rest[16..16 + len];
        rest = &rest[16 + len..];
        packets += 1;
        // AF11 on IPv4, and a header whose words add up to all ones.
        if packet[12..14] == [8, 0] && packet[15] & 0xfc == 0x28 {
            marked += 1;
            let words = packet[14..34].chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1]));
            let sum: u32 = words.sum();
            assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "packet {packets}");
        }
    }
    assert_eq!(packets, 2540);
    assert!(marked > 500, "{marked}");
}

#[test]
fn a_cut_capture_is_run_to_where_it_ends() {
    let cut = scratch("cut.pcap");
    let bytes = std::fs::read(root().join(CAPTURE)).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    let output = bpfkit(&["run", OBJECT, "--pcap", text(&cut), "--json"]);
    assert_eq!(code(&output), 2);
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let packets = report["packets"].as_u64().unwrap();
    assert!((1000..2000).contains(&packets), "{packets}");
    assert_eq!(report["broken"]["packet"], packets + 1);
    assert!(stderr(&output).contains(&format!("packet {} at offset ", packets + 1)));
}

#[test]
fn a_foreign_file_is_no_capture_and_no_object() {
    let output = bpfkit(&["run", OBJECT, "--pcap", OBJECT]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("neither pcap nor pcapng"), "{}", stderr(&output));
    let output = bpfkit(&["run", CAPTURE, "--pcap", CAPTURE]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains(CAPTURE), "{}", stderr(&output));
}

#[test]
fn wrong_words_are_named() {
    for (args, word) in [
        (&["--prog", "nobody"][..], "nobody"),
        (&["--tail", "protocols[1]=nobody"], "nobody"),
        (&["--tail", "protocols[999]=dns"], "256 slots"),
        (&["--tail", "flows[0]=dns"], "hash"),
        (&["--tail", "protocols"], "MAP[INDEX]=PROG"),
        (&["--set", "drop_protocol"], "VARIABLE=VALUE"),
        (&["--set", "drop_protocol=300"], "300"),
    ] {
        let mut all = vec!["run", OBJECT, "--pcap", CAPTURE];
        all.extend(args);
        let output = bpfkit(&all);
        assert_eq!(code(&output), 2, "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(word), "{args:?}: {}", stderr(&output));
    }
    assert_eq!(code(&bpfkit(&["run", OBJECT])), 2);
    let missing = bpfkit(&["run", "no-such-file.o", "--pcap", CAPTURE]);
    assert_eq!(code(&missing), 2);
    assert_eq!(stderr(&missing).matches("no-such-file.o").count(), 1, "{}", stderr(&missing));
    let scriptless = bpfkit(&["run", "--script", OBJECT]);
    assert_ne!(code(&scriptless), 0);
    let prose = bpfkit(&["run", "--script", "README.md"]);
    assert!(code(&prose) != 0 && stdout(&prose).contains("no script"), "{}", stdout(&prose));
    let nobody = bpfkit(&["verify", OBJECT, "--target", &format!("{OBJECT}:nobody")]);
    assert_eq!(code(&nobody), 2);
    assert!(stderr(&nobody).contains("has no program nobody"), "{}", stderr(&nobody));
    assert_eq!(code(&bpfkit(&["--help"])), 0);
}

#[test]
fn one_packet_is_run_as_bpftool_runs_it() {
    let (packet, after) = (scratch("packet.bin"), scratch("after.bin"));
    std::fs::write(&packet, [0; 64]).unwrap();
    let output = bpfkit(&[
        "run",
        OBJECT,
        "--prog",
        "dispatch",
        "--data-in",
        text(&packet),
        "--data-out",
        text(&after),
        "--repeat",
        "100",
        "--json",
    ]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(report["retval"], 2);
    assert!(report["duration"].is_u64());
    assert_eq!(std::fs::read(&after).unwrap(), [0; 64]);
}

#[test]
fn verify_names_the_line_of_a_refusal_and_exits_with_1() {
    let output = bpfkit(&["verify", OBJECT, REFUSED, "-e", "file,prog,verdict,insns,states,size"]);
    assert_eq!(code(&output), 1);
    insta::assert_snapshot!("verify", format!("{}\n{}", stdout(&output), stderr(&output)));
    assert_eq!(code(&bpfkit(&["verify", OBJECT])), 0);
    assert_eq!(code(&bpfkit(&["verify", CAPTURE])), 2);
    assert_eq!(code(&bpfkit(&["verify", OBJECT, "-e", "nonsense"])), 2);
}

#[test]
fn what_an_object_leaves_open_is_guessed_aloud() {
    let verified = |object: &str, program: &str| {
        let args = ["verify", object, "--prog", program, "--log-level", "2"];
        let output = bpfkit(&args);
        assert_eq!(code(&output), 0, "{}", stdout(&output));
        (stdout(&output), stderr(&output))
    };
    let (_, said) = verified("tests/objects/nameless.bpf.o", "nameless");
    assert!(said.contains("the kernel refuses its types, which are left out"), "{said}");
    let (log, said) = verified("tests/objects/untyped.bpf.o", "counted");
    assert!(
        said.contains("\"elsewhere\" names no program type, its context is that of xdp"),
        "{said}"
    );
    assert!(log.contains("map=a_name_longer_t,"), "{log}");
}

#[test]
fn an_extension_is_judged_for_its_target() {
    let object = |case: &str, name: &str| format!("tests/cases/{case}.{name}.o");
    let (extension, target) = (object("B04_int_vs_long", "EXT"), object("B04_int_vs_long", "TGT"));
    let output = bpfkit(&["verify", &extension, "--target", &format!("{target}:xdp_main")]);
    assert_eq!(code(&output), 1);
    let wanted = "arg0 in e() has size 8 while f() has 4";
    assert!(stderr(&output).contains(wanted), "{}", stderr(&output));

    let good = object("B05_int_vs_uint", "EXT");
    assert_eq!(code(&bpfkit(&["verify", &good, "--target", &target])), 0);
    let to = |function| format!("{target}:xdp_main:{function}");
    assert_eq!(code(&bpfkit(&["verify", &good, "--target", &to("xdp_main")])), 1);
    assert_eq!(code(&bpfkit(&["verify", &good, "--target", &to("nothing")])), 2);

    let output = bpfkit(&["verify", &good]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("Tracing programs must provide btf_id"));
    assert!(stderr(&output).contains("--target"));
}

/// The raw document of an object's only program.
fn raw_document(path: &str) -> Value {
    let bytes = std::fs::read(root().join(path)).unwrap();
    let object = bpfkit::object_of(&bytes, "object", || None, || None).unwrap();
    serde_json::from_str(&bpfkit::object::document(&object, &object.programs[0])).unwrap()
}

#[test]
fn a_raw_document_may_hold_its_target() {
    let mut document = raw_document("tests/cases/B05_int_vs_uint.EXT.o");
    document["attach_prog"] = raw_document("tests/cases/B05_int_vs_uint.TGT.o");
    let verdict = |document: &Value| -> Value {
        let output = with_input(&["raw", "-"], &document.to_string());
        serde_json::from_str(&stdout(&output)).unwrap()
    };
    document["attach_btf"] = serde_json::json!({"name": "f", "kind": "func"});
    assert_eq!(verdict(&document)["verdict"], "accept");
    document["attach_btf"]["name"] = "xdp_main".into();
    let report = verdict(&document);
    assert_eq!(report["last"], "arg0 in e() is INT while xdp_main() has PTR");
    document["attach_btf"]["name"] = "nothing".into();
    assert_eq!(verdict(&document)["stage"], "attach");
    document["attach_prog"]["insns"] = "9500000000000000".into();
    assert_eq!(verdict(&document)["stage"], "attach");
}

/// The file and program of each row of a table of these columns.
fn rows(args: &[&str]) -> (i32, Vec<String>, String) {
    let output = bpfkit(&[&["verify", "-o", "csv", "-e", "file,prog"], args].concat());
    let rows = stdout(&output).lines().skip(1).map(str::to_owned).collect();
    (code(&output), rows, stderr(&output))
}

#[test]
fn verify_takes_folders_filters_and_orders() {
    let folder = scratch("verify-folder");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir(&folder).unwrap();
    let (code, _, said) = rows(&[text(&folder)]);
    assert_eq!((code, said.contains("no file there ends in .o")), (2, true), "{said}");
    for object in ["chain", "dispatch"] {
        let name = format!("{object}.bpf.o");
        std::fs::copy(root().join("examples").join(&name), folder.join(&name)).unwrap();
    }
    std::fs::write(folder.join("notes.txt"), "not looked at").unwrap();
    let folder = text(&folder);
    let (code, all, _) = rows(&[folder]);
    assert_eq!(code, 0);
    assert!(all.contains(&"chain.bpf.o,trim".to_owned()), "{all:?}");
    assert!(all.contains(&"dispatch.bpf.o,dns".to_owned()), "{all:?}");
    let (_, some, _) = rows(&[folder, "-f", "dispatch*/parse_*", "-f", "!parse_icmp*"]);
    assert_eq!(some, ["dispatch.bpf.o,parse_tcp", "dispatch.bpf.o,parse_udp"]);
    let (_, first, _) = rows(&[folder, "-s", "prog>", "-n", "2"]);
    assert_eq!(first, ["chain.bpf.o,trim", "dispatch.bpf.o,parse_udp"]);
    let (code, none, said) = rows(&[folder, "-f", "nothing"]);
    assert_eq!((code, none.len()), (2, 0));
    assert!(said.contains("no such program"), "{said}");
    let (code, _, said) = rows(&[folder, "-s", "insns,nothing"]);
    assert_eq!((code, said.contains("no column \"nothing\"; there are file")), (2, true), "{said}");
}

#[test]
fn a_file_that_cannot_be_read_does_not_hide_the_others() {
    let junk = scratch("junk.bpf.o");
    std::fs::write(&junk, "junk").unwrap();
    let (code, all, said) = rows(&[text(&junk), "examples/chain.bpf.o", "nowhere.o"]);
    assert_eq!((code, all.len() > 2), (2, true), "{all:?}");
    assert!(said.contains("junk.bpf.o: no ELF object"), "{said}");
    assert!(said.contains("nowhere.o: No such file"), "{said}");
}

#[test]
fn variables_are_set_before_programs_are_judged() {
    let insns = |set: &[&str]| {
        let args = ["verify", "-o", "csv", "-e", "insns", OBJECT, "-f", "dispatch"];
        let output = bpfkit(&[&args, set].concat());
        (code(&output), stdout(&output), stderr(&output))
    };
    assert_eq!(insns(&["-G", "drop_protocol=6"]).0, 0);
    let (code, _, said) = insns(&["-G", "drop=6"]);
    assert_eq!(code, 2);
    assert!(said.contains("has no global variable \"drop\"; it has"), "{said}");
    let (code, _, said) = insns(&["-G", "drop_protocol[1]=6"]);
    assert_eq!((code, said.contains("there are no elements")), (2, true), "{said}");
}

#[test]
fn verify_compares_with_what_it_wrote() {
    let base = scratch("base.csv");
    let output = bpfkit(&["verify", "-o", "csv", OBJECT]);
    std::fs::write(&base, &output.stdout).unwrap();
    let output = bpfkit(&["verify", "-C", text(&base), OBJECT]);
    assert_eq!(code(&output), 0);
    assert_eq!(stdout(&output).matches("+0 (+0.00%)").count(), 14, "{}", stdout(&output));
}

#[test]
fn a_run_of_a_refused_program_shows_the_end_of_its_log() {
    let output = bpfkit(&["run", REFUSED, "--prog", "reads_without_looking", "--pcap", CAPTURE]);
    assert_eq!(code(&output), 1);
    assert!(
        stderr(&output).contains("invalid access to packet, off=12 size=1, R1(id=0,off=12,r=0)")
    );
    let accepted = bpfkit(&["run", REFUSED, "--prog", "looks_first", "--pcap", CAPTURE]);
    assert_eq!(code(&accepted), 0, "{}", stderr(&accepted));
}

#[test]
fn programs_and_types_are_printed() {
    let output = bpfkit(&["dump", REFUSED, "--prog", "looks_first"]);
    insta::assert_snapshot!("dump", stdout(&output));
    let output = bpfkit(&["dump", REFUSED, "--prog", "looks_first", "--as", "xlated"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let output = bpfkit(&["btf", OBJECT]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).contains("struct flow_stats {"));
}

#[test]
fn raw_documents_are_answered_line_by_line() {
    let documents = r#"{"id":"a","prog_type":"xdp","insns":"b7000000020000009500000000000000"}
        {"id":"b","prog_type":"xdp","insns":"9500000000000000","unknown":1}"#;
    let output = with_input(&["raw", "-"], documents);
    assert_eq!(code(&output), 1);
    let lines: Vec<Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["id"], &lines[0]["verdict"]), (&"a".into(), &"accept".into()));
    assert_eq!((&lines[1]["id"], &lines[1]["last"]), (&"b".into(), &"R0 !read_ok".into()));
    assert_eq!(code(&with_input(&["raw", "-"], "{")), 2);
}

/// A program that tail-calls slot 0 of an array that holds another, then slot 1, then returns 7; and
/// one that writes to its packet.
const RUNS: &str = r#"
    {"prog_type":"sched_cls",
     "maps":[{"type":"prog_array","key_size":4,"value_size":4,"max_entries":2,
              "init":[{"key":"SLOT","prog":{"prog_type":"sched_cls","insns":"b70000002a0000009500000000000000"}}]}],
     "insns":"18020000000000000000000000000000b703000000000000850000000c000000b7000000070000009500000000000000",
     "fixups":[{"insn":0,"kind":"map_fd","map":0}],
     "runs":[{"data":"0102030405060708090a0b0c0d0e0800"},{"data":"01"}]}
    {"prog_type":"xdp",
     "insns":"61120000000000006113040000000000bf2400000000000007040000010000002d34020000000000b7010000410000007312000000000000b7000000020000009500000000000000",
     "runs":[{"data":"0102030405060708090a0b0c0d0e0800"},{"data":"0102"}]}"#;

#[test]
fn accepted_documents_are_run_as_the_kernel_runs_them() {
    for slot in ["00000000", "01000000"] {
        let documents = RUNS.replace("SLOT", slot).replace(' ', "");
        let runs = |output: &str| -> Vec<Vec<Value>> {
            let reports = output.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            let timeless = |mut run: Value| {
                run.as_object_mut()
                    .unwrap()
                    .retain(|key, _| key != "duration_ns" && key != "reason");
                run
            };
            let runs = reports.map(|report| report["runs"].as_array().unwrap().clone());
            runs.map(|runs| runs.into_iter().map(timeless).collect()).collect()
        };
        let ours = ["jit", "interp"].map(|engine| {
            let output = with_input(&["raw", "-", "--run", "--engine", engine], &documents);
            assert_eq!(code(&output), 0, "{}", stderr(&output));
            runs(&stdout(&output))
        });
        assert_eq!(ours[0], ours[1]);
        assert_eq!(ours[0][0][0]["retval"], if slot == "00000000" { 42 } else { 7 });
        assert_eq!(ours[0][0][1]["errno_name"], "EINVAL");
        match bpf_oracle::kernel::available() {
            Err(reason) => eprintln!("skipped: the kernel's runs: {reason}"),
            Ok(()) => {
                let questions =
                    bpf_oracle::judge::Questions { levels: vec![0], text: false, runs: true };
                let read = bpf_oracle::document::Document::read_all(&documents).unwrap();
                let judged = read.iter().map(|one| bpf_oracle::judge::judge(one, &questions));
                let lines: Vec<String> =
                    judged.map(|report| serde_json::to_string(&report).unwrap()).collect();
                assert_eq!(ours[0], runs(&lines.join("\n")));
            }
        }
    }
}

#[test]
fn a_log_that_does_not_fit_is_cut_at_its_beginning_and_fails_the_load() {
    let document = r#"{"prog_type":"xdp","insns":"b7000000020000009500000000000000"}"#;
    let report = |args: &[&str]| -> Value {
        let output =
            with_input(&[&["raw", "-", "--log", "--log-level", "2"], args].concat(), document);
        serde_json::from_str(&stdout(&output)).unwrap()
    };
    let whole = report(&[]);
    assert_eq!(whole["verdict"], "accept");
    let text = whole["logs"]["2"]["text"].as_str().unwrap();
    let cut = report(&["--log-cap", "60"]);
    assert_eq!((&cut["verdict"], &cut["errno_name"]), (&"reject".into(), &"ENOSPC".into()));
    let log = &cut["logs"]["2"];
    assert_eq!((&log["truncated"], &log["sha"]), (&true.into(), &Value::Null));
    assert_eq!(log["true_size"], text.len() + 1);
    let rest = log["text"].as_str().unwrap();
    assert!(rest.len() < 60 && text.ends_with(rest), "{rest}");
}

#[test]
fn the_conformance_plugin_runs_what_no_verifier_would_accept() {
    // r0 = *(u8 *)(r1 +1); exit
    let program = "71 10 01 00 00 00 00 00 95 00 00 00 00 00 00 00";
    let engines: &[&str] =
        if cfg!(target_arch = "x86_64") { &["interp", "jit"] } else { &["interp"] };
    for engine in engines {
        let output = with_input(&["conformance-plugin", "07  2a  ", "--engine", engine], program);
        assert_eq!((code(&output), stdout(&output).as_str()), (0, "2a\n"), "{}", stderr(&output));
        let output = with_input(&["conformance-plugin", "--engine", engine], program);
        assert_ne!(code(&output), 0, "{engine}");
        assert!(stderr(&output).contains("insn 0"), "{engine}: {}", stderr(&output));
        // r1 = 7; call 5; exit, then the same by a register, and another number by a register.
        for (call, expected) in [
            ("85 00 00 00 05 00 00 00", Some("7\n")),
            ("b7 03 00 00 05 00 00 00 8d 03 00 00 00 00 00 00", Some("7\n")),
            ("b7 03 00 00 06 00 00 00 8d 00 00 00 03 00 00 00", None),
        ] {
            let program = format!("b7 01 00 00 07 00 00 00 {call} 95 00 00 00 00 00 00 00");
            let output = with_input(&["conformance-plugin", "--engine", engine], &program);
            match expected {
                Some(r0) => assert_eq!(stdout(&output), r0, "{engine}: {}", stderr(&output)),
                None => assert_eq!(code(&output), 2, "{engine}: {}", stdout(&output)),
            }
        }
    }
}

const REPLACED: &str = "tests/objects/torture.bpf.o";

/// The JSON report of a run of the program whose functions can be replaced.
fn run_replaced(extra: &[&str]) -> Value {
    let mut args = vec!["run", REPLACED, "--prog", "main_program", "--pcap", CAPTURE, "--json"];
    args.extend(extra);
    let output = bpfkit(&args);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn functions_are_replaced_and_traced_on_both_engines() {
    for engine in ["jit", "interp"] {
        let plain = run_replaced(&["--engine", engine]);
        let packets = plain["packets"].as_u64().unwrap();
        let verdicts = |report: &Value| report["verdicts"].as_object().unwrap().clone();
        assert!(!verdicts(&plain).contains_key("7"), "{plain}");

        let extension = format!("f={REPLACED}:extension");
        let [before, after] = ["before", "after"].map(|name| format!("g={REPLACED}:{name}"));
        let options = ["--extend", &extension, "--trace", &before, "--trace", &after];
        let report = run_replaced(&[&["--engine", engine], &options[..]].concat());
        let [(_, tally)] = &verdicts(&report).into_iter().collect::<Vec<_>>()[..] else {
            unreachable!("one verdict: {report}");
        };
        assert_eq!(tally["packets"], packets, "{report}");
        for program in report["programs"].as_array().unwrap() {
            assert!(program["runs"].as_u64() >= Some(packets), "{program}");
        }
        assert_eq!(report["programs"].as_array().unwrap().len(), 4);
    }
}

#[test]
fn what_cannot_be_attached_is_said() {
    let wrong = |option: &str, text: &str| {
        let args = ["run", REPLACED, "--prog", "main_program", "--pcap", CAPTURE, option, text];
        let output = bpfkit(&args);
        (code(&output), stderr(&output))
    };
    let (status, said) = wrong("--extend", "f");
    assert!(status == 2 && said.contains("FUNC=OBJ:PROG"), "{said}");
    let (status, said) = wrong("--extend", &format!("nosuch={REPLACED}:extension"));
    assert!(status == 2 && said.contains("nosuch"), "{said}");
    let (status, said) = wrong("--trace", &format!("f={REPLACED}:extension"));
    assert!(status == 2 && said.contains("its type is ext, not tracing"), "{said}");
    let (status, said) = wrong("--extend", &format!("g={REPLACED}:extension"));
    assert!(status == 1 && said.contains("has 1 args while g() has 2 args"), "{said}");
}
