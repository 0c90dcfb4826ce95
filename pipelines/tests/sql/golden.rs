//! A conversation as Power BI Desktop has it by its Npgsql 4.0, byte by byte, in the clear and through TLS: what it sends goes
//! out as `tests/data/npgsql.txt` has it, and what comes back has to be what is written there. With `THALWEG_GOLDEN=1` the
//! answers are written down anew; what is sent stays as it is.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::{env, fs};

use thalweg_serving::sql::Limits;

use super::clients::certificate;
use super::npgsql::TEXTS;
use super::wire::{Message, SSL_REQUEST, Tunnel, Wire, startup};
use super::world::{WORLD, World};

const USER: &str = "clinician";

/// Notes of the file. The first one: SCRAM is new each time, and is left out.
const START_UP: &str = "start-up";
const ANY_ORDER: &str = "any order";
/// Of events, which are the test's own.
const OF_DATA: &str = "rows of data";

/// What is sent at once, and what comes back.
struct Turn<'a> {
    /// Comments, notes and messages, as they are written down.
    head: Vec<&'a str>,
    answers: Vec<&'a str>,
}

impl Turn<'_> {
    fn frames(&self) -> Vec<Vec<u8>> {
        self.head.iter().filter_map(|line| line.strip_prefix("> ")).map(unescaped).collect()
    }

    fn is(&self, note: &str) -> bool {
        self.head.iter().any(|line| line.strip_prefix("= ") == Some(note))
    }

    /// Messages as they are written down.
    fn shown(&self, messages: &[Message]) -> Vec<String> {
        let is_left_out = |message: &Message| message.kind == b'D' && self.is(OF_DATA);
        let lines = messages.iter().filter(|message| !is_left_out(message)).map(line).collect();
        if self.is(ANY_ORDER) { sorted(lines, "< D ") } else { lines }
    }
}

fn turns(text: &str) -> Vec<Turn<'_>> {
    let parts = text.trim_end().split("\n\n").map(|part| {
        let (answers, head) = part.lines().partition(|line| line.starts_with("< "));
        Turn { head, answers }
    });
    parts.collect()
}

/// The bytes of what is written down.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next().unwrap() {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'x' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()].map(char::from);
                u8::from_str_radix(&String::from_iter(digits), 16).unwrap()
            }
            itself => itself,
        });
    }
    bytes
}

fn line(message: &Message) -> String {
    let text = format!("< {} {}", char::from(message.kind), message.body.escape_ascii());
    text.trim_end().to_owned()
}

/// Neighbours that begin with `start` are sorted.
fn sorted(mut lines: Vec<String>, start: &str) -> Vec<String> {
    let is = |line: &String| line.starts_with(start);
    for same in lines.chunk_by_mut(|one, other| is(one) && is(other)) {
        same.sort();
    }
    lines
}

/// What the server says once somebody is in. The key of a connection is new each time, the version with each release.
fn greeting(messages: &[Message]) -> Vec<String> {
    let shown = |message: &Message| match line(message) {
        _ if message.kind == b'K' => "< K".to_owned(),
        line if line.starts_with("< S server_version\\x00") => {
            line.replace(env!("CARGO_PKG_VERSION"), "{version}")
        }
        line => line,
    };
    sorted(messages.iter().map(shown).collect(), "< S ")
}

/// Says everything; the answers to each turn, as they are written down.
fn replay<S: Read + Write>(
    wire: &mut Wire<S>,
    token: &str,
    turns: &[Turn<'_>],
) -> Vec<Vec<String>> {
    let mut answers = Vec::new();
    for turn in turns {
        if turn.is(START_UP) {
            answers.push(greeting(&wire.come_in(USER, token)));
            continue;
        }
        let frames = turn.frames();
        wire.0.write_all(&frames.concat()).unwrap();
        let mut messages = Vec::new();
        // A query and a sync are answered by a message each that the server is ready.
        for _ in frames.iter().filter(|frame| matches!(frame[0], b'Q' | b'S')) {
            messages.extend(wire.until_ready());
        }
        answers.push(turn.shown(&messages));
    }
    answers
}

fn written(turns: &[Turn<'_>], answers: &[Vec<String>]) -> String {
    let parts = turns.iter().zip(answers).map(|(turn, answers)| {
        let answers = answers.iter().map(String::as_str);
        turn.head.iter().copied().chain(answers).collect::<Vec<_>>().join("\n")
    });
    parts.collect::<Vec<_>>().join("\n\n") + "\n"
}

/// The texts of the queries, as they are sent.
fn asked(turns: &[Turn<'_>]) -> Vec<String> {
    let frames = turns.iter().filter(|turn| !turn.is(START_UP)).flat_map(Turn::frames);
    let parses = frames.filter(|frame| frame[0] == b'P');
    // Behind kind, length and no name; before the end of the text and no types of parameters.
    parses.map(|frame| String::from_utf8(frame[6..frame.len() - 3].to_vec()).unwrap()).collect()
}

#[test]
fn npgsql_gets_the_golden_bytes_in_the_clear_and_through_tls() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/npgsql.txt");
    let text = fs::read_to_string(&path).unwrap();
    let turns = turns(&text);
    // What is sent is what is judged by its meaning elsewhere.
    let begun = turns.iter().find(|turn| turn.is(START_UP)).unwrap();
    assert_eq!(begun.frames(), [SSL_REQUEST.to_vec(), startup(USER)]);
    assert_eq!(asked(&turns), TEXTS.map(|sql| sql.replace('\n', "\r\n")));

    let address = WORLD.server.address();
    let mut clear = Wire(TcpStream::connect(address).unwrap());
    clear.is_refused_encryption();
    let answers = replay(&mut clear, WORLD.token(USER), &turns);
    if env::var_os("THALWEG_GOLDEN").is_some() {
        fs::write(&path, written(&turns, &answers)).unwrap();
    } else {
        for (turn, answers) in turns.iter().zip(&answers) {
            let about = turn.head.join("\n");
            assert_eq!(&turn.answers, answers, "{about}\nTHALWEG_GOLDEN=1 writes answers anew");
        }
    }

    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sql/golden-certificate");
    let Some(tls) = certificate(&folder) else { return };
    let world = World::new("golden-tls", Limits::default(), Some(tls));
    let mut secret = Wire(Tunnel::to(world.server.address()));
    assert_eq!(replay(&mut secret, world.token(USER), &turns), answers);
}
