//! Volumes come and go beside the containers that use them: none is pruned from under one.

use super::{Belief, User};

impl User<'_> {
    /// Makes, uses and prunes.
    pub(super) fn use_volumes(&mut self) {
        let word = self.dice.roll(100_000).to_string();
        match self.dice.roll(4) {
            // One without a name, which any other user's prune would take if it were not claimed before it is there.
            0 => self.says(
                &format!("run --rm -v /anon busybox sh -c 'echo {word} >/anon/word; cat /anon/word'"),
                &word,
            ),
            1 => {
                let output = {
                    let _alone = self.stage.prune.lock();
                    self.sure("volume prune -f")
                };
                if let Some(output) = output {
                    self.expect(true, "volume prune -f", &output);
                }
            }
            2 => {
                let name = format!("volume{}", self.number);
                self.says(&format!("volume create --label user={} {name}", self.number), &name);
            }
            _ => self.prune_own(),
        }
    }

    /// Prunes what is labelled as its own: its volume stays, with what was written, while any of its containers is there.
    fn prune_own(&mut self) {
        let line = format!("volume prune -a -f --filter label=user={}", self.number);
        let output = {
            let _alone = self.stage.prune.lock();
            self.sure(&line)
        };
        if let Some(output) = &output {
            self.expect(true, &line, output);
        }
        if self.beliefs.iter().all(|belief| *belief == Belief::Absent) {
            self.written = None;
        }
    }
}
