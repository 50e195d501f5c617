//! The counts of a call, and what they mean on the route that it took.

use usage::{EventKey, Flags, Skip, Tokens};

use crate::record::Count;

/// Counts as they are stated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stated {
    /// With what came from the cache.
    pub(super) prompt: Count,
    /// With the thoughts on some routes, without them on others.
    pub(super) candidates: Count,
    pub(super) cached: Count,
    pub(super) thoughts: Count,
    pub(super) total: Count,
}

impl Stated {
    /// `route` is how the agent was let in, which tells the interface that was spoken.
    pub(super) fn tokens(mut self, route: Option<&str>, flags: &mut Flags) -> Result<Tokens, Skip> {
        self.complete();
        let prompt = self.prompt.clamped(flags)?;
        let cache_read = self.cached.clamped(flags)?;
        let candidates = self.candidates.clamped(flags)?;
        let thoughts = self.thoughts.clamped(flags)?;
        let are_inside = match self.total {
            Count::Is(total) if total.unsigned_abs() == prompt + candidates => true,
            Count::Is(total) if total.unsigned_abs() == prompt + candidates + thoughts => false,
            _ => match route {
                Some("openai" | "qwen-oauth" | "anthropic") => true,
                Some("gemini" | "gemini-api-key" | "vertex-ai") => false,
                _ => thoughts <= candidates,
            },
        };
        let output = if are_inside { candidates } else { candidates + thoughts };
        if cache_read > prompt || thoughts > output {
            flags.insert(Flags::CLAMPED);
        }
        Ok(Tokens {
            input: prompt.saturating_sub(cache_read),
            output,
            cache_read,
            cache_create: 0,
            cache_create_1h: 0,
            reasoning: thoughts.min(output),
        })
    }

    /// The key of the call that took `duration_ms`. No two calls of a session agree in all of it: the
    /// conversation grows, and what does not takes another time. Of what the ledger and the transcript
    /// both say, model and total are left out, because the ledger may put others in their place.
    pub(super) fn key(mut self, session: &str, duration_ms: u64) -> EventKey {
        self.complete();
        let [prompt, candidates, cached, thoughts] =
            [self.prompt, self.candidates, self.cached, self.thoughts].map(|count| match count {
                Count::Is(n) => n.max(0),
                Count::Absent | Count::Bad => 0,
            });
        EventKey::new(&format!(
            "qwen:call:{session}:{duration_ms}:{prompt}:{candidates}:{cached}:{thoughts}"
        ))
    }

    /// Where the prompt was not counted, what is known to have come from the cache stands for it. The
    /// ledger has done that already.
    fn complete(&mut self) {
        if let (Count::Absent | Count::Is(..=0), Count::Is(1..)) = (self.prompt, self.cached) {
            self.prompt = self.cached;
        }
    }
}

/// Whole milliseconds of a number, as the ledger has them.
pub(super) fn whole_ms(number: Option<&str>) -> u64 {
    let ms = number.and_then(|number| number.parse::<f64>().ok()).unwrap_or_default();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "numbers out of range become the nearest in range"
    )]
    let ms = ms as u64;
    ms
}
