//! What happens to a container, as an event with the facts that every event of it has.

use super::record::Record;
use crate::engine::Shared;

impl Shared {
    /// Tells the listeners of `action`, with `extra` facts.
    pub fn tell(&self, record: &Record, action: &str, extra: &[(&str, String)]) {
        let mut attributes = record.event_attributes();
        attributes.extend(extra.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        self.events.emit("container", action, &record.id, attributes);
    }
}
