//! The runner of `make check` and `make test` (`tests/steps.sh`), tried with suites that pass, fail and test
//! nothing. Knows nothing of the steps of the real suites.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// The output of a suite, its code, and the folder that keeps the output of its steps.
struct Ran {
    text: String,
    code: Option<i32>,
    kept: PathBuf,
}

/// Runs a suite whose steps are these lines of shell.
fn run(name: &str, steps: &str) -> Ran {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("suite-{name}"));
    let runner = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/steps.sh");
    let script = format!("set -uo pipefail\n. {runner}\n{steps}\nrun_steps\n");
    let mut bash = Command::new("bash");
    let output = bash.arg("-c").arg(script).env("CARGO_TARGET_DIR", &target).output().expect("bash runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    Ran { text, code: output.status.code(), kept: target.join("test-output") }
}

#[test]
fn a_suite_that_passes_says_a_line_for_each_step() {
    let ran = run(
        "passes",
        "step silent true\n\
         step rust echo 'test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured'\n\
         step python printf '%s\\n' 'a b ... ok' '2 passed, 0 failed, 1 skipped'",
    );
    let expected = [
        ["silent ", " ok ", " 2 to go"],
        ["rust ", " ok, 3 passed, 0 failed, 1 skipped ", " 1 to go"],
        ["python ", " ok, 2 passed, 0 failed, 1 skipped ", " 0 to go"],
        ["total: ", "5 passed, 0 failed, ", "2 skipped"],
    ];
    assert_eq!(ran.text.lines().count(), expected.len(), "{}", ran.text);
    for (line, [first, middle, last]) in ran.text.lines().zip(expected) {
        assert!(line.starts_with(first) && line.contains(middle) && line.ends_with(last), "{line}");
    }
    assert_eq!(ran.code, Some(0));
    let kept = fs::read_to_string(ran.kept.join("python")).expect("the output of each step is kept");
    assert_eq!(kept, "a b ... ok\n2 passed, 0 failed, 1 skipped\n");
}

#[test]
fn a_failed_step_shows_what_failed_and_the_rest_still_runs() {
    let rows = [
        (
            "cargo",
            "printf '%s\\n' 'test a ... ok' 'failures:' '-- b --' 'stack backtrace:' '0: c' \
             'note: Some details are omitted, x' 'left' \
             'test result: FAILED. 1 passed; 1 failed; 0 ignored' 'noise'",
            &["failures:", "-- b --", "left"][..],
            &["test a", "0: c", "noise"][..],
        ),
        (
            "python",
            "printf '%s\\n' 'a ... ok' 'b ... FAILED (x)' '1 passed, 1 failed, 0 skipped'",
            &["b ... FAILED (x)"],
            &["a ... ok"],
        ),
        ("other", "seq 100; echo '1 passed, 1 failed, 0 skipped'", &["    100", "    65"], &["    55\n"]),
    ];
    for (name, body, shown, hidden) in rows {
        let steps = format!("broken() {{ {body}; return 7; }}\nstep broken broken\nstep late true");
        let ran = run(name, &steps);
        assert_eq!(ran.code, Some(1), "{}", ran.text);
        assert!(ran.text.contains("FAILED with code 7, 1 passed, 1 failed, 0 skipped"), "{}", ran.text);
        assert!(shown.iter().all(|words| ran.text.contains(words)), "{}", ran.text);
        assert!(!hidden.iter().any(|words| ran.text.contains(words)), "{}", ran.text);
        assert!(ran.text.contains("test-output/broken\nlate"), "{}", ran.text);
        assert!(ran.text.ends_with("failed steps: broken\ntotal: 1 passed, 1 failed, 0 skipped\n"));
    }
}

#[test]
fn a_suite_without_a_passed_test_has_failed() {
    let ran = run("empty", "step silent true");
    assert!(ran.text.ends_with("total: 0 passed, 0 failed, 0 skipped\n"), "{}", ran.text);
    assert_eq!(ran.code, Some(1));
}
