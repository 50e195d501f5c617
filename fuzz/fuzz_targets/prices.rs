//! A price book of any text is an error or prices every call.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use usage::pricing::{PriceBook, PriceRows};
use usage::{EventKey, Flags, Owner, Role, Speed, Tokens, Usage, UsageEvent};

static BUILTIN: LazyLock<PriceBook> = LazyLock::new(PriceBook::builtin);

fuzz_target!(|data: &[u8]| {
    // The first byte chooses the call, the next ones its model's name up to a newline.
    let Some((choice, rest)) = data.split_first() else { return };
    let at = rest.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let model = String::from_utf8_lossy(&rest[..at]);
    let Ok(text) = std::str::from_utf8(&rest[at..]) else { return };
    let event = call(*choice, &model);
    if let Ok(book) = PriceBook::parse(text) {
        check(&book, &event);
    }
    let mut book = BUILTIN.clone();
    if let Ok(rows) = toml::from_str::<PriceRows>(text)
        && book.overlay(&rows).is_ok()
    {
        check(&book, &event);
    }
    check(&book, &event);
});

fn check(book: &PriceBook, event: &UsageEvent) {
    let price = book.price(event);
    assert!(price.cost_nanousd.is_none_or(|cost| cost >= 0), "{price:?}");
    assert_eq!(price, book.price(event));
}

fn call(choice: u8, model: &str) -> UsageEvent {
    let count = [0, 1, 300_000, 1_000_000_000][usize::from(choice & 3)];
    let ts_ms = [0, 1_777_777_777_777, 253_402_300_799_999, i64::MIN][usize::from(choice >> 2 & 3)];
    let speeds = Speed::ALL;
    UsageEvent {
        key: EventKey::new("fuzz:1"),
        provider: "fuzz".into(),
        role: Role::Assistant,
        ts_ms,
        copy_rank: 0,
        owner: Owner {
            session_id: "s".into(),
            project: "/w".into(),
            is_sidechain: false,
            account: None,
            agent: None,
            client: None,
            source_id: 1,
        },
        usage: Usage {
            model: model.into(),
            speed: speeds[usize::from(choice >> 4) % speeds.len()],
            tokens: Tokens {
                input: count,
                output: count,
                cache_read: count,
                cache_create: 2 * count,
                cache_create_1h: count,
                reasoning: count,
            },
            web_search_requests: count,
            vendor: None,
            tier: None,
            geo: (choice >> 7 == 1).then(|| "us".into()),
            logged_cost_nanousd: None,
            flags: Flags::default(),
        },
        parser_version: 1,
    }
}
