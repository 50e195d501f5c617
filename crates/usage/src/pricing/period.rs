//! What holds from a day on, and what a call costs by it.

use crate::{Flags, Speed, Tokens, Usage};

/// A factor of one. Factors are integers in millionths.
pub(super) const ONE: u64 = 1_000_000;

/// What batches cost where the rows do not say: half.
const BATCH: u64 = ONE / 2;

/// What holds from a time on, in order of time.
#[derive(Clone, Debug)]
pub(super) struct Timeline<T>(pub(super) Vec<(i64, T)>);

impl<T> Timeline<T> {
    /// The last that holds at `ts_ms`; before the first, the first.
    pub(super) fn at(&self, ts_ms: i64) -> Option<&T> {
        let holding = self.0.iter().rfind(|(from_ms, _)| *from_ms <= ts_ms);
        holding.or(self.0.first()).map(|(_, what)| what)
    }
}

/// The prices of one model from one day on.
#[derive(Clone, Debug)]
pub(super) struct Period {
    pub(super) base: Rates,
    /// Rates for a speed or a threshold; thresholds of one speed in ascending order.
    pub(super) bands: Vec<Band>,
    pub(super) fast: Option<u64>,
    pub(super) flex: Option<u64>,
    pub(super) batch: Option<u64>,
    pub(super) ultrafast: Option<u64>,
    pub(super) us: u64,
    pub(super) search_microusd: u64,
}

/// Rates for calls of one speed or, above a threshold, for those of them with more input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Band {
    pub(super) speed: Speed,
    pub(super) above: Option<u64>,
    pub(super) rates: Rates,
}

/// In 1e-12 USD per token, which is 1e-6 USD per million tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rates {
    pub(super) input_picousd: u64,
    pub(super) read_picousd: u64,
    pub(super) write_picousd: u64,
    pub(super) write_1h_picousd: u64,
    pub(super) output_picousd: u64,
}

/// A call's cost, and whether the price book states it only roughly.
pub(super) struct Quote {
    pub(super) cost_nanousd: i64,
    pub(super) is_estimate: bool,
}

impl Period {
    pub(super) fn quote(&self, usage: &Usage) -> Quote {
        let prompt = usage.tokens.prompt();
        let (rates, factor, is_estimate) = if usage.flags.contains(Flags::SUM) {
            // Each request is as long as it is by itself. Only where all of them together are no
            // longer than a threshold is it certain that none was.
            let (rates, factor, is_estimate) = self.rates(usage.speed, 0);
            let may_cost_more = self.rates(usage.speed, prompt).0 != rates;
            (rates, factor, is_estimate || may_cost_more)
        } else {
            self.rates(usage.speed, prompt)
        };
        let us = if usage.geo.as_deref() == Some("us") { self.us } else { ONE };
        let one = u128::from(ONE);
        // Two factors in millionths make this 1e-24 USD: still exact, and rounded only once.
        let tokens = rates
            .cost_picousd(&usage.tokens)
            .saturating_mul(u128::from(factor))
            .saturating_mul(u128::from(us));
        let search = u128::from(self.search_microusd) * one * one * one;
        let searches = u128::from(usage.web_search_requests).saturating_mul(search);
        let cost_nanousd = div_half_up(tokens.saturating_add(searches), 1000 * one * one);
        Quote { cost_nanousd: i64::try_from(cost_nanousd).unwrap_or(i64::MAX), is_estimate }
    }

    /// Rates for a speed and this much input, a factor that goes with them, and whether that is only
    /// roughly so.
    fn rates(&self, speed: Speed, prompt: u64) -> (&Rates, u64, bool) {
        let standard = self.band(Speed::Standard, prompt).unwrap_or(&self.base);
        match (self.band(speed, prompt), self.factor(speed)) {
            (Some(rates), _) => (rates, ONE, false),
            (None, Some(factor)) => (standard, factor, false),
            (None, None) => (standard, ONE, true),
        }
    }

    /// The rates stated for a speed and this much input, if any are.
    fn band(&self, speed: Speed, prompt: u64) -> Option<&Rates> {
        let holds =
            |band: &&Band| band.speed == speed && band.above.is_none_or(|above| prompt > above);
        self.bands.iter().rfind(holds).map(|band| &band.rates)
    }

    fn factor(&self, speed: Speed) -> Option<u64> {
        match speed {
            Speed::Standard => Some(ONE),
            Speed::Fast => self.fast,
            Speed::Flex => self.flex,
            Speed::Batch => self.batch.or(Some(BATCH)),
            Speed::Ultrafast => self.ultrafast,
        }
    }
}

impl Rates {
    fn cost_picousd(&self, tokens: &Tokens) -> u128 {
        let write_1h = tokens.cache_create_1h.min(tokens.cache_create);
        let write = tokens.cache_create - write_1h;
        [
            (tokens.input, self.input_picousd),
            (tokens.cache_read, self.read_picousd),
            (write, self.write_picousd),
            (write_1h, self.write_1h_picousd),
            (tokens.output, self.output_picousd),
        ]
        .into_iter()
        .map(|(count, rate)| u128::from(count) * u128::from(rate))
        .sum()
    }
}

/// For even divisors.
fn div_half_up(dividend: u128, divisor: u128) -> u128 {
    dividend.saturating_add(divisor / 2) / divisor
}
