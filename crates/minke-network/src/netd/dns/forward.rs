//! Asking outside: which resolvers in which order, and for how long, so that whoever asks has an answer before it gives up itself.

use std::time::Duration;

use super::exchange::{self, Outcome};
use super::query::{Asked, Way};
use crate::netd::Upstream;
use crate::netd::namespace::Namespace;

/// How many resolvers count, as in resolv.conf(5).
const MOST: usize = 3;
/// How many attempts there are for a datagram, which may be lost.
const ATTEMPTS: usize = 3;
/// How long each may take: all of them less than the five seconds after which libraries give up.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Asks until somebody answers; there is always something to answer with.
pub async fn forward(
    asked: &Asked,
    packet: &[u8],
    upstreams: &[Upstream],
    namespace: Option<&Namespace>,
) -> Vec<u8> {
    let mut failed = [false; MOST];
    for index in order(upstreams.len(), asked.way()) {
        if failed[index] {
            continue;
        }
        match exchange::ask(asked, packet, &upstreams[index], namespace, PATIENCE).await {
            Outcome::Answer(answer) => return answer,
            Outcome::Failure => failed[index] = true,
            Outcome::Silence => {}
        }
    }
    asked.nobody()
}

/// Who is asked in turn, of `count` resolvers.
fn order(count: usize, way: Way) -> impl Iterator<Item = usize> {
    let count = count.min(MOST);
    let attempts = match (count, way) {
        (0, _) => 0,
        (_, Way::Datagram) => ATTEMPTS.max(count),
        (_, Way::Connection) => count,
    };
    (0..attempts).map(move |attempt| attempt % count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_is_tried_again_and_a_connection_is_not() {
        let all = |count, way| order(count, way).collect::<Vec<_>>();
        assert!(all(0, Way::Datagram).is_empty());
        assert_eq!(all(1, Way::Datagram), [0, 0, 0]);
        assert_eq!(all(2, Way::Datagram), [0, 1, 0]);
        assert_eq!(all(5, Way::Datagram), [0, 1, 2]);
        assert_eq!(all(2, Way::Connection), [0, 1]);
        assert!(PATIENCE * (ATTEMPTS as u32) < Duration::from_secs(5));
    }
}
