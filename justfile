# The commands CI runs. `just check` is all of them.

check:
    .ci/run

test:
    cargo test --workspace --locked

run:
    cargo run --release --locked -- run

# The page, over the figures of a service that is running: what is changed in web/ shows at once.
page:
    npm --prefix web ci
    npm --prefix web run dev

# The page's tests: the built binary and a real browser. `just browser names` runs some of them.
browser *options:
    cargo build --locked --package daemon
    npm --prefix web ci
    npm --prefix web test -- {{options}}

# How fast the page is there, over a service that runs (`just page-speed http://127.0.0.1:8474`), or over
# a million calls made for this.
page-speed url="":
    cargo build --release --locked --package daemon
    npm --prefix web ci
    TALLYD="$PWD/target/release/tallyd" TALLYD_URL={{url}} npm --prefix web test -- --config bench/playwright.config.ts

# The figures the program is held to, as one table: `just bench --quick`, `just bench --only fresh`.
bench *options:
    cargo bench -p daemon --bench figures --locked -- {{options}}

# Parsers, appending and refreshing by themselves: for comparing two states of the code.
micro:
    cargo bench -p providers --bench parsers
    cargo bench -p store --bench writing

# Other programs that count the same logs, side by side with this one, over a copy of a home folder
# with logs: `just peers FOLDER --only ccusage`. Installs them into a scratch folder, with npm and pip.
peers corpus *options:
    cargo build --release --locked --package daemon
    python3 bench/peers.py {{corpus}} {{options}}

# ccusage's totals over a copy of a home folder with logs, or of several, and by which rules they differ.
accuracy logs *options:
    cargo build --release --locked --package daemon
    python3 bench/accuracy.py {{logs}} {{options}}

# Mixed load for some minutes: memory, descriptors and the write-ahead log stay flat, figures exact.
soak minutes="10":
    cargo bench --bench soak -- --minutes {{minutes}}

# Feeds a fuzz target (record, prices, config, http) for ten minutes. Needs
# `cargo install cargo-fuzz`; runs on the stable toolchain.
fuzz target:
    mkdir -p fuzz/corpus/{{target}}
    RUSTC_BOOTSTRAP=1 cargo fuzz run {{target}} fuzz/corpus/{{target}} fuzz/seeds/{{target}} -- -max_total_time=600 -max_len=8192

# The same for the parsers of a provider, by its id.
fuzz-provider id:
    mkdir -p fuzz/corpus/{{id}}
    TALLYD_FUZZ={{id}} RUSTC_BOOTSTRAP=1 cargo fuzz run provider fuzz/corpus/{{id}} fuzz/seeds/{{id}} -- -max_total_time=600 -max_len=8192
