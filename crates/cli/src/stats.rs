//! `heapfile stats`: what an arena holds and what happens to it, once or again and again.

use crate::info::{durability_name, handle_json, others, print_others, print_tail};
use crate::output::{self, Style};
use crate::units::{count, counted, size};
use crate::usage::{Kind, Usage, tail_bytes};
use crate::{Failure, Outcome, advice};
use heapfile::{Arena, Error, Handle, Options, Stats};
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Show what an arena holds: sizes, blocks, free space, log, commits, who has it open
///
/// Counts the blocks, a few loads for each slab and long block, in short read transactions: no writer waits for it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  heapfile stats my.heap\n  heapfile stats --watch my.heap\n  \
    heapfile stats --watch=0.2 --json my.heap | jq .commits_per_second")]
pub(crate) struct Args {
    /// The arena
    file: PathBuf,
    /// Show it anew every SECONDS (default 1), with commits per second, until Ctrl-C
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds, num_args = 0..=1, require_equals = true,
        default_missing_value = "1")]
    watch: Option<Duration>,
    /// Write JSON; with --watch one line each time
    #[arg(long)]
    json: bool,
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.01..=86_400.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("give seconds from 0.01 to 86400".to_owned()),
    }
}

/// What one look found.
struct Sample {
    at: Instant,
    stats: Stats,
    usage: Usage,
    others: Vec<Handle>,
}

impl Sample {
    fn take(arena: &Arena) -> Result<Self, Failure> {
        let others = others(arena)?;
        let stats = arena.stats()?;
        let mut usage = Usage::default();
        for run in arena.runs() {
            usage.add(&run?, |_, _, _| {});
        }
        Ok(Self { at: Instant::now(), stats, usage, others })
    }

    /// Commits per second since an earlier sample.
    fn rate(&self, before: &Self) -> f64 {
        let commits = self.stats.sequence.saturating_sub(before.stats.sequence);
        commits as f64 / self.at.duration_since(before.at).as_secs_f64().max(1e-9)
    }
}

pub(crate) fn run(args: Args) -> Outcome {
    let arena = Options::new().accept_unsynced(true).open_read_only(&args.file)?;
    let Some(interval) = args.watch else {
        let sample = Sample::take(&arena)?;
        if args.json {
            output::json(&to_json(&arena, &sample, None))?;
        } else {
            let mut out = output::buffered();
            out.write_all(&page(&arena, &sample, None)?)?;
            out.flush()?;
        }
        return Ok(ExitCode::SUCCESS);
    };
    watch(&arena, interval, args.json, &interruptions()?)?;
    Ok(ExitCode::SUCCESS)
}

/// Gets a message when the user presses Ctrl-C.
fn interruptions() -> Result<Receiver<()>, Failure> {
    let (tell, interrupted) = channel();
    ctrlc::set_handler(move || {
        // Nobody listens any more: the command is about to end.
        let _ = tell.send(());
    })?;
    Ok(interrupted)
}

fn watch(
    arena: &Arena,
    interval: Duration,
    as_json: bool,
    interrupted: &Receiver<()>,
) -> Result<(), Failure> {
    let redraw = !as_json && output::is_screen();
    let (mut before, mut lines) = (None::<Sample>, 0);
    loop {
        let shown = match Sample::take(arena) {
            Ok(sample) => {
                let rate = before.as_ref().map(|before| sample.rate(before));
                let shown = if as_json {
                    let mut line = serde_json::to_vec(&to_json(arena, &sample, rate))?;
                    line.push(b'\n');
                    line
                } else {
                    page(arena, &sample, rate)?
                };
                before = Some(sample);
                shown
            }
            // Somebody keeps everybody out for a while: that is worth seeing, and passes.
            Err(e) if matches!(e.downcast_ref(), Some(Error::Busy { .. })) => {
                busy(arena, &advice::told(e.as_ref()), as_json)?
            }
            Err(e) => return Err(e),
        };
        // What wraps or scrolls is not found again by going up as many lines as were written.
        let shown = if redraw { fitted(&shown, output::screen_size()) } else { shown };
        let mut out = output::buffered();
        if redraw && lines > 0 {
            write!(out, "\x1b[{lines}F\x1b[J")?;
        } else if !as_json && !redraw && lines > 0 {
            writeln!(out)?;
        }
        lines = shown.iter().filter(|&&byte| byte == b'\n').count();
        out.write_all(&shown)?;
        out.flush()?;
        drop(out);
        match interrupted.recv_timeout(interval) {
            Err(RecvTimeoutError::Timeout) => {}
            _ => return Ok(()),
        }
    }
}

/// What of a page there is room for: lines no longer than a row, and a row less than there are, since the cursor comes to stand behind them.
fn fitted(page: &[u8], (columns, rows): (usize, usize)) -> Vec<u8> {
    let page = String::from_utf8_lossy(page);
    let lines = page.lines().take(rows.saturating_sub(1).max(1));
    lines.flat_map(|line| cut(line, columns).into_bytes().into_iter().chain([b'\n'])).collect()
}

/// The first characters of a line, with all of its escape sequences, which take no room: one behind them may end what one before began.
fn cut(line: &str, columns: usize) -> String {
    let (mut room, mut in_sequence) = (columns, false);
    let keeps = |c: &char| {
        if in_sequence || *c == '\x1b' {
            in_sequence = !c.is_ascii_alphabetic();
            return true;
        }
        let fits = room > 0;
        room = room.saturating_sub(1);
        fits
    };
    line.chars().filter(keeps).collect()
}

/// What can be shown while nobody gets in.
fn busy(arena: &Arena, why: &str, as_json: bool) -> Result<Vec<u8>, Failure> {
    let others = others(arena)?;
    let mut out = Vec::new();
    if as_json {
        let others: Vec<Value> = others.iter().map(handle_json).collect();
        writeln!(out, "{}", json!({"busy": why, "other_handles": others}))?;
    } else {
        writeln!(out, "{}", arena.path().display())?;
        output::row(&mut out, "busy", why)?;
        print_others(&mut out, &others)?;
    }
    Ok(out)
}

fn to_json(arena: &Arena, sample: &Sample, rate: Option<f64>) -> Value {
    let Sample { stats, usage, others, .. } = sample;
    json!({
        "path": arena.path().to_string_lossy(),
        "durability": durability_name(stats.durability),
        "file_bytes": stats.file_bytes,
        "heap_bytes": stats.heap_bytes,
        "blocks": usage.blocks(),
        "used_bytes": usage.of(Kind::Blocks),
        "slack_bytes": usage.of(Kind::Slack),
        "metadata_bytes": usage.of(Kind::Metadata),
        "free_bytes": stats.free_bytes,
        "tail_bytes": tail_bytes(stats),
        "extents": stats.extents,
        "longest_extent_bytes": stats.longest_extent_bytes,
        "log_bytes": stats.log_bytes,
        "log_used_bytes": stats.log_used_bytes,
        "sequence": stats.sequence,
        "commits_per_second": rate,
        "synced": stats.synced,
        "other_handles": others.iter().map(handle_json).collect::<Vec<_>>(),
    })
}

fn percent(part: u64, whole: u64) -> String {
    format!("{:.0} %", part as f64 * 100.0 / whole.max(1) as f64)
}

/// One look as text.
fn page(arena: &Arena, sample: &Sample, rate: Option<f64>) -> std::io::Result<Vec<u8>> {
    let Sample { stats, usage, others, .. } = sample;
    let mut page = Vec::new();
    let out = &mut page;
    writeln!(out, "{}", Style::of_stdout().title(&arena.path().display().to_string()))?;
    let file = format!("{}, of which the heap {}", size(stats.file_bytes), size(stats.heap_bytes));
    output::row(out, "file", &file)?;
    let used = usage.of(Kind::Blocks);
    output::row(out, "blocks", &format!("{} in {}", count(usage.blocks()), size(used)))?;
    let lost =
        format!("{} of slack, {} of metadata", size(usage.of(Kind::Slack)), size(usage.of(Kind::Metadata)));
    output::row(out, "besides", &lost)?;
    let free = format!(
        "{} ({} of the heap) in {}, the longest {}",
        size(stats.free_bytes),
        percent(stats.free_bytes, stats.heap_bytes),
        counted(stats.extents, "extent"),
        size(stats.longest_extent_bytes)
    );
    output::row(out, "free", &free)?;
    print_tail(out, stats)?;
    if stats.log_bytes > 0 {
        let fill = percent(stats.log_used_bytes, stats.log_bytes);
        output::row(out, "log", &format!("{fill} of {} used", size(stats.log_bytes)))?;
    }
    let rate = rate.map_or(String::new(), |rate| format!(", {} a second", count(rate.round() as u64)));
    output::row(out, "commits", &format!("{}{rate}", count(stats.sequence)))?;
    output::row(
        out,
        "synced",
        if stats.synced { "yes" } else { "no: the disk does not have everything yet" },
    )?;
    print_others(out, others)?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_by_characters() {
        for (line, columns, kept) in [
            ("short", 9, "short"),
            ("exact", 5, "exact"),
            ("longer", 4, "long"),
            ("\u{e4}\u{f6}\u{1f980}\u{fc}", 3, "\u{e4}\u{f6}\u{1f980}"),
            ("", 3, ""),
        ] {
            assert_eq!(cut(line, columns), kept, "{line}");
        }
    }

    #[test]
    fn sequences_take_no_room_and_are_never_cut() {
        assert_eq!(cut("\x1b[1;31mwhole\x1b[0m", 5), "\x1b[1;31mwhole\x1b[0m");
        assert_eq!(cut("\x1b[1;31mwhole\x1b[0m and more", 2), "\x1b[1;31mwh\x1b[0m");
    }

    #[test]
    fn a_page_leaves_a_row_for_the_cursor() {
        let page = b"one\ntwo\nthree\n";
        assert_eq!(fitted(page, (80, 24)), page);
        assert_eq!(fitted(page, (80, 4)), page);
        assert_eq!(fitted(page, (2, 3)), b"on\ntw\n");
        assert_eq!(fitted(page, (80, 1)), b"one\n");
    }

    #[test]
    fn seconds_are_read() {
        assert_eq!(parse_seconds("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_seconds("60"), Ok(Duration::from_secs(60)));
        for bad in ["", "0", "-1", "NaN", "inf", "1e9", "a"] {
            assert!(parse_seconds(bad).is_err(), "{bad}");
        }
    }
}
