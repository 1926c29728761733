//! Reads a transcript into statements.

use std::iter::Peekable;
use std::str::Chars;

use consolegate::proto::Side;

/// One statement of a transcript.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Statement {
    /// `schemes "none,vencrypt"`
    Schemes(String),
    /// `compute> "..."`
    Sends(Side, Vec<u8>),
    /// `compute> end`
    Ends(Side),
    /// `compute< "..."`
    Gets(Side, Vec<u8>),
    /// `time-out`
    TimeOut,
    /// `close "..."`
    Close(String),
    /// `relay`
    Relay,
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Bytes(Vec<u8>),
}

/// Reads all of `text`. Panics with what is wrong, this being a test.
pub(crate) fn parse(text: &str) -> Vec<Statement> {
    let mut tokens = tokens(text).into_iter().peekable();
    let mut statements = Vec::new();
    while let Some(token) = tokens.next() {
        let Token::Word(word) = token else { panic!("a text where a statement starts: {token:?}") };
        statements.push(match word.as_str() {
            "schemes" => Statement::Schemes(text_of(bytes(&mut tokens))),
            "compute>" => sends(Side::Compute, &mut tokens),
            "tenant>" => sends(Side::Tenant, &mut tokens),
            "compute<" => Statement::Gets(Side::Compute, bytes(&mut tokens)),
            "tenant<" => Statement::Gets(Side::Tenant, bytes(&mut tokens)),
            "time-out" => Statement::TimeOut,
            "close" => Statement::Close(text_of(bytes(&mut tokens))),
            "relay" => Statement::Relay,
            _ => panic!("unknown statement {word}"),
        });
    }
    statements
}

fn sends(side: Side, tokens: &mut Peekable<impl Iterator<Item = Token>>) -> Statement {
    if tokens.next_if_eq(&Token::Word("end".into())).is_some() {
        return Statement::Ends(side);
    }
    Statement::Sends(side, bytes(tokens))
}

/// A text, with its repetitions and continuations.
fn bytes(tokens: &mut Peekable<impl Iterator<Item = Token>>) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let Some(Token::Bytes(mut bytes)) = tokens.next() else { panic!("a text is missing") };
        if tokens.next_if_eq(&Token::Word("*".into())).is_some() {
            let Some(Token::Word(times)) = tokens.next() else { panic!("a number is missing behind *") };
            bytes = bytes.repeat(times.parse().unwrap());
        }
        all.extend(bytes);
        if tokens.next_if_eq(&Token::Word("+".into())).is_none() {
            return all;
        }
    }
}

fn text_of(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    for line in text.lines() {
        let mut chars = line.chars().peekable();
        while let Some(first) = chars.next() {
            match first {
                '#' => break,
                ' ' => {}
                '"' => tokens.push(Token::Bytes(quoted(&mut chars))),
                _ => {
                    let mut word = String::from(first);
                    while let Some(next) = chars.next_if(|next| *next != ' ') {
                        word.push(next);
                    }
                    tokens.push(Token::Word(word));
                }
            }
        }
    }
    tokens
}

/// The bytes up to the closing quotation mark.
fn quoted(chars: &mut Peekable<Chars<'_>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        match chars.next().expect("a closing quotation mark") {
            '"' => return bytes,
            '\\' => bytes.push(match chars.next().expect("an escape") {
                'n' => b'\n',
                'r' => b'\r',
                '0' => 0,
                'x' => {
                    let digits: String = chars.by_ref().take(2).collect();
                    u8::from_str_radix(&digits, 16).unwrap()
                }
                other @ ('"' | '\\') => u8::try_from(other).unwrap(),
                other => panic!("unknown escape \\{other}"),
            }),
            other => bytes.extend(other.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
}
