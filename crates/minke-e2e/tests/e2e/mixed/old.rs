//! The container that all users visit, and that outlives every engine: with a health check, and a log that rotates.

use minke_e2e::{Rig, process, within};

use super::User;
use super::flat::OLD;

/// Starts it.
pub fn start(rig: &Rig) {
    rig.ok(&format!(
        "run -d --name {OLD} --health-cmd 'test -e /tmp' --health-interval 200ms --log-opt max-size=64k \
         --log-opt max-file=2 busybox sh -c 'i=0; while :; do echo $i; i=$((i+1)); sleep 0.1; done'"
    ));
}

/// Panics unless it still runs since its only start, and its health is looked after.
pub fn is_well(rig: &Rig) {
    let mut last = String::new();
    let mut checks = 0;
    within(30, "the old container's health is looked after", || {
        let state = rig.inspect(OLD)["State"].clone();
        assert_eq!(
            (state["Running"].as_bool(), state["Restarting"].as_bool()),
            (Some(true), Some(false)),
            "{state}"
        );
        let newest =
            state["Health"]["Log"].as_array().and_then(|log| log.last().cloned()).unwrap_or_default();
        checks += usize::from(newest["Start"].as_str().is_some_and(|start| start != last));
        last = newest["Start"].as_str().unwrap_or_default().to_owned();
        // The first may be of before the engine's last death.
        (checks > 2 && state["Health"]["Status"] == "healthy" && state["Health"]["FailingStreak"] == 0)
            .then_some(())
    });
    assert_eq!(rig.inspect(OLD)["RestartCount"], 0);
    let log = rig.ok(&format!("logs {OLD}"));
    let numbers: Vec<u64> = log.lines().map(|line| line.parse().expect("a number")).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "a gap or a second start: {numbers:?}");
}

impl User<'_> {
    /// Does something with it that others may do at the same time.
    pub(super) fn visit_old(&mut self) {
        let word = self.dice.roll(100_000).to_string();
        match self.dice.roll(5) {
            0 => self.says(&format!("exec {OLD} echo {word}"), &word),
            1 => {
                let line = format!("logs --tail 5 {OLD}");
                let Some(output) = self.sure(&line) else { return };
                self.expect(true, &line, &output);
                assert!(output.text().lines().count() <= 5, "{}", output.text());
            }
            2 => {
                let name = format!("visitor{}", self.number);
                let file = self.stage.rig.file(&name, word.as_bytes());
                let Some(output) = self.sure(&format!("cp {} {OLD}:/tmp/{name}", file.display())) else {
                    return;
                };
                self.expect(true, "cp", &output);
                self.says(&format!("exec {OLD} cat /tmp/{name}"), &word);
            }
            3 => {
                let session = self.stage.rig.spawn(&format!("attach --no-stdin --sig-proxy=false {OLD}"));
                within(20, "a line is seen, or the engine is gone", || {
                    (session.so_far().lines().count() > 1 || !process::is_alive(session.pid())).then_some(())
                });
            }
            _ => {
                let line = format!("top {OLD}");
                let Some(output) = self.sure(&line) else { return };
                self.expect(true, &line, &output);
                assert!(output.text().contains("while :"), "{}", output.text());
            }
        }
    }

    /// Runs a line that has to succeed with `words`, unless something is killed meanwhile.
    pub(super) fn says(&mut self, line: &str, words: &str) {
        let Some(output) = self.sure(line) else { return };
        self.expect(true, line, &output);
        assert_eq!(output.text(), words, "{line}");
    }
}
