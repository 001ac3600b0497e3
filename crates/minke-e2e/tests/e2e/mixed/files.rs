//! Files in containers: in, out, and into an image.

use super::{Belief, User};

impl User<'_> {
    /// A file goes in, comes out the same, and is in an image made of the container.
    pub(super) fn copy(&mut self, slot: usize) {
        if matches!(self.beliefs[slot], Belief::Absent | Belief::Paused) {
            return;
        }
        let (name, word) = (self.name(slot), self.dice.roll(100_000).to_string());
        let file = self.stage.rig.file(&format!("{name}.in"), word.as_bytes());
        let back = self.stage.rig.scratch().join(format!("{name}.out"));
        let image = format!("image{}", self.number);
        for (line, says) in [
            (format!("cp {} {name}:/tmp/file", file.display()), ""),
            (format!("cp {name}:/tmp/file {}", back.display()), ""),
            (format!("commit {name} {image}"), ""),
            (format!("run --rm {image} cat /tmp/file"), word.as_str()),
            (format!("rmi -f {image}"), ""),
        ] {
            let Some(output) = self.sure(&line) else { return };
            self.expect(true, &line, &output);
            assert!(says.is_empty() || output.text() == says, "{line}: {}", output.text());
        }
        assert_eq!(std::fs::read_to_string(&back).unwrap_or_default(), word, "{name}");
    }
}
