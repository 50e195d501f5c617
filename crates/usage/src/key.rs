//! The identity of a call, made from the agent's own ids.

use std::fmt;

/// Identity of a call across files, copies, moves and re-reads.
///
/// Keys over 40 bytes are kept as their prefix, `#` and 22 characters of a 128-bit hash, so that
/// the index over them stays small.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventKey(Box<str>);

const MAX_LEN: usize = 40;
const PREFIX_LEN: usize = MAX_LEN - 1 - 22;

impl EventKey {
    pub fn new(full: &str) -> Self {
        if full.len() <= MAX_LEN {
            return Self(full.into());
        }
        let prefix = &full[..full.floor_char_boundary(PREFIX_LEN)];
        Self(format!("{prefix}#{}", digest22(full.as_bytes())).into())
    }

    /// A key read back from the database.
    pub fn stored(key: &str) -> Self {
        Self(key.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// 128 bits of a hash of `bytes` in 22 characters.
pub fn digest22(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let hash = blake3::hash(bytes);
    let mut first = [0; 16];
    first.copy_from_slice(&hash.as_bytes()[..16]);
    let mut rest = u128::from_le_bytes(first);
    (0..22)
        .map(|_| {
            let digit = usize::try_from(rest & 63).unwrap_or_default();
            rest >>= 6;
            char::from(ALPHABET[digit])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_key_is_kept_as_it_is() {
        let key = "claude:msg_01AAAAAAAAAAAAAAAAAAAAAAAAAAA";
        assert_eq!(key.len(), 40);
        assert_eq!(EventKey::new(key).as_str(), key);
    }

    #[test]
    fn a_long_key_is_prefix_and_hash() {
        let key = EventKey::new("claude:prompt:0123456789012345678901234567890");
        assert_eq!(key.as_str().len(), 40);
        assert!(key.as_str().starts_with("claude:prompt:012#"), "{key}");
        assert_ne!(key, EventKey::new("claude:prompt:0123456789012345678901234567891"));
    }

    #[test]
    fn a_long_key_is_cut_between_characters() {
        let key = EventKey::new(&"ü".repeat(30));
        assert_eq!(key.as_str().split('#').next(), Some("üüüüüüüü"));
    }
}
