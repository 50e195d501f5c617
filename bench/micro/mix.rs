//! One log of each agent, as long sessions leave them: mostly content, and every so often a line
//! that states a call. The same at every run.

/// What a line is, and the line.
pub(crate) type Line = (&'static str, String);

/// Forty turns of Claude Code, 1.7 MB: two lines for each response, most of the bytes in
/// what tools gave back.
pub(crate) fn claude_code() -> Vec<Line> {
    let mut text = Text::default();
    let mut lines: Vec<Line> = Vec::new();
    for call in 0..320 {
        let at = time(call);
        let head = format!(
            r#""parentUuid":"9f0c31de-0000-4000-8000-{call:012}","isSidechain":false,"userType":"external","cwd":"/home/ada/engine","sessionId":"5e550000-0000-4000-8000-000000000001","version":"2.1.63","gitBranch":"main""#
        );
        let tail = |piece| {
            format!(r#""uuid":"7a11be00-0000-4000-8000-{call:09}{piece:03}","timestamp":"{at}""#)
        };
        if call % 8 == 0 {
            let (prompt, files) = (text.of(300), text.of(200));
            lines.push((
                "other",
                format!(
                    r#"{{"type":"file-history-snapshot","messageId":"m-{call}","snapshot":{{"trackedFileBackups":{{"a":"{files}"}},"timestamp":"{at}"}},"isSnapshotUpdate":false}}"#
                ),
            ));
            lines.push((
                "prompt",
                format!(
                    r#"{{{head},"type":"user","message":{{"role":"user","content":"{prompt}"}},{}}}"#,
                    tail(0)
                ),
            ));
        }
        let contents = [
            format!(r#"{{"type":"text","text":"{}"}}"#, text.of(700)),
            format!(
                r#"{{"type":"tool_use","id":"toolu_{call}","name":"Read","input":{{"file_path":"{}"}}}}"#,
                text.of(200)
            ),
        ];
        for (piece, content) in contents.iter().enumerate() {
            let (read, write, output) = (20_000 + call * 40, 900 + call % 90, 9 + piece * 240);
            lines.push((
                "call",
                format!(
                    r#"{{{head},"message":{{"model":"claude-opus-4-5-20251101","id":"msg_01{call:022}","type":"message","role":"assistant","content":[{content}],"stop_reason":null,"stop_sequence":null,"usage":{{"input_tokens":7,"cache_creation_input_tokens":{write},"cache_read_input_tokens":{read},"cache_creation":{{"ephemeral_5m_input_tokens":{write},"ephemeral_1h_input_tokens":0}},"output_tokens":{output},"service_tier":"standard"}}}},"requestId":"req_011{call:021}","type":"assistant",{}}}"#,
                    tail(1 + piece)
                ),
            ));
        }
        let size = if call % 16 == 0 { 12_000 } else { 900 };
        let (told, kept) = (text.of(size), text.of(size / 3));
        lines.push((
            "content",
            format!(
                r#"{{{head},"type":"user","message":{{"role":"user","content":[{{"tool_use_id":"toolu_{call}","type":"tool_result","content":"{told}"}}]}},"toolUseResult":{{"type":"text","file":{{"content":"{kept}"}}}},{}}}"#,
                tail(3)
            ),
        ));
    }
    lines
}

/// Forty turns of Codex, 1.1 MB: a thread that states each call by its running totals, and
/// its record as newer versions do.
pub(crate) fn codex() -> Vec<Line> {
    const THREAD: &str = "0197a000-0000-7000-8000-00000000000a";
    let mut text = Text::default();
    let mut lines: Vec<Line> = Vec::new();
    let mut push = |what, call, kind: &str, payload: String| {
        let at = time(call);
        let line = format!(r#"{{"timestamp":"{at}","type":"{kind}","payload":{payload}}}"#);
        lines.push((what, line));
    };
    push(
        "thread",
        0,
        "session_meta",
        format!(
            r#"{{"id":"{THREAD}","timestamp":"{}","cwd":"/home/ada/engine","originator":"codex_cli_rs","cli_version":"0.98.0","source":"cli","model_provider":"openai","base_instructions":{{"text":"{}"}}}}"#,
            time(0),
            text.of(9_000)
        ),
    );
    let mut total = [0; 3];
    for call in 0..320 {
        if call % 8 == 0 {
            push(
                "turn",
                call,
                "turn_context",
                format!(
                    r#"{{"turn_id":"t-{call}","cwd":"/home/ada/engine","approval_policy":"on-request","model":"gpt-5.5","effort":"medium","user_instructions":"{}"}}"#,
                    text.of(400)
                ),
            );
            let prompt =
                format!(r#"{{"type":"user_message","message":"{}","images":[]}}"#, text.of(300));
            push("prompt", call, "event_msg", prompt);
        }
        for size in [500, 120, if call % 16 == 0 { 9_000 } else { 1_100 }] {
            let content = format!(
                r#"{{"type":"message","role":"assistant","content":[{{"type":"output_text","text":"{}"}}]}}"#,
                text.of(size)
            );
            push("content", call, "response_item", content);
        }
        let last = [9_000 + call % 700, 8_000 + call % 600, 100 + call % 500];
        (0..3).for_each(|n| total[n] += last[n]);
        let (last, total) = (usage(last), usage(total));
        if call >= 160 {
            let record = format!(
                r#"{{"thread_id":"{THREAD}","turn_id":"t","response_id":"resp_{call:024}","usage":{last},"turn_token_usage":{{}}}}"#
            );
            push("record", call, "token_usage_record", record);
        }
        let count = format!(
            r#"{{"type":"token_count","info":{{"total_token_usage":{total},"last_token_usage":{last},"model_context_window":258400}},"rate_limits":{{"primary":{{"used_percent":12.5,"window_minutes":300}}}}}}"#
        );
        push("count", call, "event_msg", count);
    }
    lines
}

fn usage([input, cached, output]: [usize; 3]) -> String {
    format!(
        r#"{{"input_tokens":{input},"cached_input_tokens":{cached},"output_tokens":{output},"reasoning_output_tokens":0,"total_tokens":{}}}"#,
        input + output
    )
}

/// A minute after the call before.
fn time(call: usize) -> String {
    format!("2026-05-02T{:02}:{:02}:07.123Z", 8 + call / 60, call % 60)
}

/// Text like code, with the escapes that JSON gives it.
#[derive(Default)]
struct Text {
    words: usize,
}

impl Text {
    fn of(&mut self, len: usize) -> String {
        const WORDS: [&str; 11] = [
            "fn",
            "parse",
            "(line: &str)",
            "\\n   12\\t",
            "let",
            "\\\"name\\\"",
            "größe",
            "=>",
            "map",
            "return",
            "token_usage",
        ];
        let mut text = String::with_capacity(len + 16);
        while text.len() < len {
            self.words += 1;
            text.push_str(WORDS[self.words * 7 % WORDS.len()]);
            text.push(' ');
        }
        text
    }
}
