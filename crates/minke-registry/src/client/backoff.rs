//! When to try again: decided from the attempt's number, what the registry asked for, and the bounds.

use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, SystemTime};

use hyper::HeaderMap;
use hyper::header::RETRY_AFTER;

use super::settings::Limits;

/// The pause before the attempt after the `failed`th: what the registry asks for, or a time that doubles, of which the upper half
/// is left to chance (`chance` of 0 to 255); never longer than the bound.
pub(crate) fn pause(failed: u32, asked: Option<Duration>, limits: &Limits, chance: u8) -> Duration {
    if let Some(asked) = asked {
        return asked.min(limits.longest_pause);
    }
    let whole =
        limits.backoff.saturating_mul(1 << (failed.saturating_sub(1)).min(16)).min(limits.longest_pause);
    whole / 2 + (whole / 2).mul_f64(f64::from(chance) / 255.0)
}

/// Something that differs from one call to the next.
pub(crate) fn chance() -> u8 {
    RandomState::new().hash_one(0) as u8
}

/// What Retry-After says, in seconds or as a date.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(SystemTime::from(date.timestamp()).duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_bound_and_leave_half_to_chance() {
        let limits = Limits {
            backoff: Duration::from_secs(1),
            longest_pause: Duration::from_secs(5),
            ..Limits::default()
        };
        assert_eq!(pause(1, None, &limits, 0), Duration::from_millis(500));
        assert_eq!(pause(1, None, &limits, 255), Duration::from_secs(1));
        assert_eq!(pause(3, None, &limits, 255), Duration::from_secs(4));
        assert_eq!(pause(40, None, &limits, 255), Duration::from_secs(5));
        assert_eq!(pause(1, Some(Duration::from_secs(3)), &limits, 0), Duration::from_secs(3));
        assert_eq!(pause(1, Some(Duration::from_secs(86400)), &limits, 0), Duration::from_secs(5));
    }

    #[test]
    fn retry_after_is_a_number_or_a_date() {
        let of = |text: &'static str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            retry_after(&headers, SystemTime::UNIX_EPOCH + Duration::from_secs(1_445_412_470))
        };
        assert_eq!(of("7"), Some(Duration::from_secs(7)));
        assert_eq!(of("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::from_secs(10)));
        assert_eq!(of("Wed, 21 Oct 2015 07:27:00 GMT"), Some(Duration::ZERO));
        assert_eq!(of("soon"), None);
    }
}
