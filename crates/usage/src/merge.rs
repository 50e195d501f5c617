//! What to keep when two records state the same call.

use std::cmp::{Ordering, Reverse};

use crate::{Usage, UsageEvent};

/// Joins two statements of one call.
///
/// Commutative, associative and idempotent, so the order of lines, files and restarts never
/// matters:
/// 1. a statement of the least copy rank goes before the others, and among those one of a main
///    conversation before a sidechain's, which may be a copy of it that nothing else betrays;
/// 2. `usage` is that of the one with the most output among them, as a whole;
/// 3. `owner` is that of the one with the least session, project and so on;
/// 4. the time is the earliest stated, so a growing response stays on its day.
pub fn merge(a: UsageEvent, b: UsageEvent) -> UsageEvent {
    debug_assert_eq!(a.key, b.key);
    let ts_ms = a.ts_ms.min(b.ts_ms);
    let copy_rank = a.copy_rank.min(b.copy_rank);
    let parser_version = a.parser_version.max(b.parser_version);
    let usage_from_a = usage_order(&a).cmp(&usage_order(&b)) != Ordering::Less;
    let owner_from_a = (originality(&a), &a.owner) <= (originality(&b), &b.owner);
    let (usage, owner) = match (usage_from_a, owner_from_a) {
        (true, true) => (a.usage, a.owner),
        (true, false) => (a.usage, b.owner),
        (false, true) => (b.usage, a.owner),
        (false, false) => (b.usage, b.owner),
    };
    UsageEvent {
        key: a.key,
        provider: a.provider,
        role: a.role,
        ts_ms,
        copy_rank,
        owner,
        usage,
        parser_version,
    }
}

/// The least goes first. What is kept of a row's usage and of its owner always has the same one, so
/// a row can be joined again.
pub fn originality(event: &UsageEvent) -> (u8, bool) {
    (event.copy_rank, event.owner.is_sidechain)
}

/// A total order over all that `usage` holds: the greatest is kept.
fn usage_order(event: &UsageEvent) -> impl Ord + '_ {
    let Usage {
        model,
        speed,
        tokens,
        web_search_requests,
        vendor,
        tier,
        geo,
        logged_cost_nanousd,
        flags,
    } = &event.usage;
    (
        (Reverse(originality(event)), tokens.output, tokens.prompt()),
        (&**model != Usage::UNKNOWN_MODEL, model, speed),
        (tokens, web_search_requests),
        (vendor, tier, geo),
        (logged_cost_nanousd, Reverse(flags)),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::option;
    use proptest::prelude::*;
    use proptest::sample::{select, subsequence};

    use super::*;
    use crate::{EventKey, Flags, Owner, Role, Speed, Tokens};

    fn text(values: &'static [&'static str]) -> impl Strategy<Value = Arc<str>> {
        select(values).prop_map(Arc::from)
    }

    /// Counts so small that different ones often have the same total.
    fn tokens() -> impl Strategy<Value = Tokens> {
        let count = || 0..3_u64;
        (count(), count(), count(), count(), 0..2_u64, 0..2_u64).prop_map(
            |(input, output, cache_read, cache_create, cache_create_1h, reasoning)| Tokens {
                input,
                output,
                cache_read,
                cache_create,
                cache_create_1h,
                reasoning,
            },
        )
    }

    fn usage() -> impl Strategy<Value = Usage> {
        let flags = select(vec!["clamped", "ts_guessed", "estimated", "sum"]);
        (
            text(&[Usage::UNKNOWN_MODEL, "a", "z"]),
            select(vec![Speed::Standard, Speed::Fast]),
            tokens(),
            0..2_u64,
            (option::of(text(&["azure"])), option::of(text(&["batch"])), option::of(text(&["us"]))),
            option::of(1..3_i64),
            option::of(flags),
        )
            .prop_map(
                |(model, speed, tokens, web_search_requests, (vendor, tier, geo), cost, flag)| {
                    Usage {
                        model,
                        speed,
                        tokens,
                        web_search_requests,
                        vendor,
                        tier,
                        geo,
                        logged_cost_nanousd: cost,
                        flags: Flags::from_names(flag),
                    }
                },
            )
    }

    fn owner() -> impl Strategy<Value = Owner> {
        (
            text(&["s1", "s2"]),
            text(&["/w", "/w/x"]),
            any::<bool>(),
            option::of(text(&["work"])),
            option::of(text(&["agent-1"])),
            option::of(text(&["2.1.0", "2.2.0"])),
            1..3_i64,
        )
            .prop_map(
                |(session_id, project, is_sidechain, account, agent, client, source_id)| Owner {
                    session_id,
                    project,
                    is_sidechain,
                    account,
                    agent,
                    client,
                    source_id,
                },
            )
    }

    fn statement() -> impl Strategy<Value = UsageEvent> {
        (0..3_u8, 0..3_i64, 1..3_u32, owner(), usage()).prop_map(
            |(copy_rank, ts_ms, parser_version, owner, usage)| UsageEvent {
                key: EventKey::new("claude:msg_1"),
                provider: "claude-code".into(),
                role: Role::Assistant,
                ts_ms,
                copy_rank,
                owner,
                usage,
                parser_version,
            },
        )
    }

    /// Everything in which two statements of one call can differ.
    const FIELDS: &[fn(&mut UsageEvent, &UsageEvent)] = &[
        |to, from| to.ts_ms = from.ts_ms,
        |to, from| to.copy_rank = from.copy_rank,
        |to, from| to.parser_version = from.parser_version,
        |to, from| to.owner.session_id.clone_from(&from.owner.session_id),
        |to, from| to.owner.project.clone_from(&from.owner.project),
        |to, from| to.owner.is_sidechain = from.owner.is_sidechain,
        |to, from| to.owner.account.clone_from(&from.owner.account),
        |to, from| to.owner.agent.clone_from(&from.owner.agent),
        |to, from| to.owner.client.clone_from(&from.owner.client),
        |to, from| to.owner.source_id = from.owner.source_id,
        |to, from| to.usage.model.clone_from(&from.usage.model),
        |to, from| to.usage.speed = from.usage.speed,
        |to, from| to.usage.tokens.input = from.usage.tokens.input,
        |to, from| to.usage.tokens.output = from.usage.tokens.output,
        |to, from| to.usage.tokens.cache_read = from.usage.tokens.cache_read,
        |to, from| to.usage.tokens.cache_create = from.usage.tokens.cache_create,
        |to, from| to.usage.tokens.cache_create_1h = from.usage.tokens.cache_create_1h,
        |to, from| to.usage.tokens.reasoning = from.usage.tokens.reasoning,
        |to, from| to.usage.web_search_requests = from.usage.web_search_requests,
        |to, from| to.usage.vendor.clone_from(&from.usage.vendor),
        |to, from| to.usage.tier.clone_from(&from.usage.tier),
        |to, from| to.usage.geo.clone_from(&from.usage.geo),
        |to, from| to.usage.logged_cost_nanousd = from.usage.logged_cost_nanousd,
        |to, from| to.usage.flags = from.usage.flags,
    ];

    /// Statements that differ from a common one in few fields: ties in all others.
    fn statements() -> impl Strategy<Value = [UsageEvent; 3]> {
        let changed = || subsequence(FIELDS, 0..=3);
        (statement(), statement(), [changed(), changed(), changed()]).prop_map(
            |(common, other, changed)| {
                changed.map(|fields| {
                    let mut statement = common.clone();
                    for take in fields {
                        take(&mut statement, &other);
                    }
                    statement
                })
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn commutative([a, b, _] in statements()) {
            prop_assert_eq!(merge(a.clone(), b.clone()), merge(b, a));
        }

        #[test]
        fn associative([a, b, c] in statements()) {
            let left = merge(merge(a.clone(), b.clone()), c.clone());
            prop_assert_eq!(left, merge(a, merge(b, c)));
        }

        #[test]
        fn idempotent([a, b, _] in statements()) {
            prop_assert_eq!(merge(a.clone(), a.clone()), a.clone());
            let once = merge(a.clone(), b.clone());
            prop_assert_eq!(merge(once.clone(), a), once.clone());
            prop_assert_eq!(merge(once.clone(), b), once);
        }

        #[test]
        fn stores_only_what_was_logged(statements in statements()) {
            let merged = statements.iter().cloned().reduce(merge).unwrap();
            let least = statements.iter().map(originality).min().unwrap();
            let originals = || statements.iter().filter(|s| originality(s) == least);
            let output = originals().map(|s| s.usage.tokens.output).max();
            prop_assert_eq!(originality(&merged), least);
            prop_assert_eq!(Some(merged.usage.tokens.output), output);
            prop_assert!(originals().any(|s| s.usage == merged.usage));
            prop_assert_eq!(Some(&merged.owner), originals().map(|s| &s.owner).min());
            prop_assert_eq!(Some(merged.ts_ms), statements.iter().map(|s| s.ts_ms).min());
        }
    }
}
