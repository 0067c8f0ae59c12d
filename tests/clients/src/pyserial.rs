//! pyserial's own test suite against a URL, and what is expected of each of its tests.
//!
//! Owner: the pyserial scenarios. What a test is expected to do is written in `expected/`, with the reason where it cannot
//! pass; this compares.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::environment;
use crate::program::Program;

/// What came of the tests, by their names.
#[derive(Debug)]
struct Outcome {
    verdicts: BTreeMap<String, Told>,
    /// How many were run again.
    again: usize,
    taken: Duration,
}

#[derive(Debug)]
struct Told {
    verdict: String,
    why: String,
}

/// Runs the suite, and compares with a list of `expected/`. What should pass and does not gets two more chances, by itself:
/// some of these tests sleep for 50 ms and then want to see everything, which is not a verdict about the bridge on a machine
/// that is busy. Returns the counts, for people.
///
/// # Errors
/// A test that should pass does not; the list is not about the same tests; or the suite does not end.
pub fn run(url: &str, expected: &str) -> Result<String> {
    let mut outcome = Outcome::of(url, &[])?;
    for _ in 0..2 {
        let failed = outcome.failed(expected);
        if failed.is_empty() {
            break;
        }
        outcome.replace(Outcome::of(url, &failed)?);
    }
    outcome.compare(expected)
}

impl Outcome {
    /// Runs the whole suite, or these tests of it. A test's end must come within a minute of the last one's.
    fn of(url: &str, only: &[String]) -> Result<Self> {
        let start = Instant::now();
        let mut command = Command::new(environment::python());
        command
            .arg(environment::script("pyserial_suite.py"))
            .arg(environment::pyserial_tests())
            .arg(url)
            .args(only);
        let mut program = Program::start("pyserial's suite", &mut command)?;
        let mut verdicts = BTreeMap::new();
        let ran = loop {
            let told = program.next(Duration::from_secs(60))?;
            let told = told.with_context(|| format!("the suite broke off:\n{}", program.said()))?;
            let text = |key: &str| told[key].as_str().unwrap_or_default().to_owned();
            match told["ran"].as_u64() {
                Some(ran) => break ran,
                None => {
                    let test = Told { verdict: text("verdict"), why: text("why") };
                    verdicts.insert(text("test"), test);
                }
            }
        };
        ensure!(ran == verdicts.len() as u64, "{ran} tests ran, {} told what came of them", verdicts.len());
        Ok(Self { verdicts, again: 0, taken: start.elapsed() })
    }

    /// The tests that should pass and did not.
    fn failed(&self, expected: &str) -> Vec<String> {
        let should_pass = expected.lines().filter_map(|line| line.strip_prefix("pass "));
        let failed = |test: &&str| self.verdicts.get(*test).is_some_and(|told| told.verdict == "fail");
        should_pass.filter(failed).map(str::to_owned).collect()
    }

    fn replace(&mut self, other: Self) {
        self.again += other.verdicts.len();
        self.taken += other.taken;
        self.verdicts.extend(other.verdicts);
    }

    /// Compares with a list: lines of `pass TEST`, `skip TEST` or `fail TEST: why it cannot pass`. Returns
    /// the counts.
    fn compare(&self, expected: &str) -> Result<String> {
        let mut wrong = String::new();
        let mut better = Vec::new();
        let mut listed = 0;
        for line in expected.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            listed += 1;
            let (wanted, rest) = line.split_once(' ').with_context(|| format!("in the list: {line:?}"))?;
            let test = rest.split_once(": ").map_or(rest, |(test, _)| test);
            match self.verdicts.get(test) {
                None => writeln!(wrong, "  {test} did not run")?,
                Some(told) if told.verdict == wanted => {}
                Some(told) if told.verdict == "pass" => better.push(test),
                Some(told) => {
                    writeln!(wrong, "  {test}: {} instead of {wanted}: {}", told.verdict, told.why)?
                }
            }
        }
        for (test, told) in &self.verdicts {
            let is_listed = expected.lines().any(|line| line.split([' ', ':']).nth(1) == Some(test));
            if !is_listed {
                writeln!(wrong, "  {} {test}: {} (not in the list)", told.verdict, told.why)?;
            }
        }
        let mut counts = self.counts();
        if !better.is_empty() {
            write!(counts, "; beyond expectation: {}", better.join(", "))?;
        }
        if !wrong.is_empty() {
            bail!("{counts}\n{wrong}");
        }
        ensure!(listed == self.verdicts.len(), "{listed} tests are listed, {} ran", self.verdicts.len());
        Ok(counts)
    }

    fn counts(&self) -> String {
        let count = |verdict| self.verdicts.values().filter(|told| told.verdict == verdict).count();
        let (pass, fail, skip) = (count("pass"), count("fail"), count("skip"));
        let again =
            if self.again == 0 { String::new() } else { format!(", {} of them run again", self.again) };
        format!("{pass} passed, {fail} failed, {skip} skipped{again}, in {:.1} s", self.taken.as_secs_f32())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn outcome(tests: &[(&str, &str)]) -> Outcome {
        let told = |verdict: &str| Told { verdict: verdict.to_owned(), why: "because".to_owned() };
        let verdicts = tests.iter().map(|(test, verdict)| ((*test).to_owned(), told(verdict))).collect();
        Outcome { verdicts, again: 0, taken: Duration::ZERO }
    }

    #[test]
    fn what_is_expected_is_counted_and_what_is_better_is_named() {
        let outcome = outcome(&[("a.b", "pass"), ("a.c", "fail"), ("a.d", "pass")]);
        let counts = outcome.compare("# a list\npass a.b\nfail a.c: no lines\nfail a.d: too hard\n").unwrap();
        assert_eq!(counts, "2 passed, 1 failed, 0 skipped, in 0.0 s; beyond expectation: a.d");
    }

    #[test]
    fn what_should_pass_and_does_not_is_refused_and_so_is_another_set_of_tests() {
        let refused = |tests: &[(&str, &str)], list: &str, says: &str| {
            let error = outcome(tests).compare(list).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        };
        refused(&[("a.b", "fail")], "pass a.b", "a.b: fail instead of pass: because");
        refused(&[("a.b", "skip")], "pass a.b", "a.b: skip instead of pass");
        refused(&[("a.b", "skip")], "fail a.b: hard", "a.b: skip instead of fail");
        refused(&[("a.b", "pass")], "pass a.b\npass a.c", "a.c did not run");
        refused(&[("a.b", "pass"), ("a.c", "pass")], "pass a.b", "pass a.c: because (not in the list)");
    }
}
