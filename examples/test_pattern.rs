//! `test_pattern PORT`: a small VNC server that paints moving colour bars on the loopback address.
//!
//! It stands in for a guest in `scripts/demo` where QEMU cannot be had: RFB 3.8 (RFC 6143), security type
//! None, Raw encoding in whatever true-colour format the viewer asks for. Input is read and ignored.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

const WIDTH: u16 = 320;
const HEIGHT: u16 = 200;
const NAME: &[u8] = b"consolegate test pattern";

/// How a viewer wants its pixels (RFC 6143 section 7.4).
#[derive(Clone, Copy)]
struct PixelFormat {
    bytes: usize,
    big_endian: bool,
    max: [u16; 3],
    shift: [u8; 3],
}

impl PixelFormat {
    /// 32 bits a pixel, little-endian, eight bits a colour.
    const OURS: [u8; 16] = [32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0];

    /// `None` when the format is not one of true colour.
    fn read(wire: [u8; 16]) -> Option<Self> {
        let bytes = usize::from(wire[0]) / 8;
        let max = [4, 6, 8].map(|at| u16::from_be_bytes([wire[at], wire[at + 1]]));
        let shift = [wire[10], wire[11], wire[12]];
        let usable = matches!(bytes, 1 | 2 | 4) && wire[3] != 0 && shift.iter().all(|s| *s < 32);
        usable.then_some(Self { bytes, big_endian: wire[2] != 0, max, shift })
    }

    /// Appends one pixel of colour `rgb`.
    fn put(self, rgb: [u8; 3], out: &mut Vec<u8>) {
        // Bits of no colour are ones: noVNC 1.3 takes some of them for opacity.
        let mut value = u32::MAX;
        for ((colour, max), shift) in rgb.into_iter().zip(self.max).zip(self.shift) {
            let max = u32::from(max);
            value = value & !(max << shift) | (u32::from(colour) * max / 255) << shift;
        }
        if self.big_endian {
            out.extend(&value.to_be_bytes()[4 - self.bytes..]);
        } else {
            out.extend(&value.to_le_bytes()[..self.bytes]);
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::args().nth(1).ok_or("usage: test_pattern PORT")?.parse::<u16>()?;
    for stream in TcpListener::bind(("127.0.0.1", port))?.incoming() {
        let stream = stream?;
        thread::spawn(move || {
            if let Err(error) = serve(stream) {
                eprintln!("viewer gone: {error}");
            }
        });
    }
    Ok(())
}

/// Serves one viewer until it leaves.
fn serve(mut stream: TcpStream) -> io::Result<()> {
    handshake(&mut stream)?;
    let mut format = PixelFormat::read(PixelFormat::OURS).ok_or(io::ErrorKind::InvalidData)?;
    for frame in 0.. {
        // Messages of the viewer, RFC 6143 section 7.5, up to the next request for an update.
        loop {
            match read::<1>(&mut stream)?[0] {
                0 => {
                    let [_, _, _, wire @ ..] = read::<19>(&mut stream)?;
                    format = PixelFormat::read(wire).ok_or(io::ErrorKind::InvalidData)?;
                }
                2 => {
                    let [_, high, low] = read::<3>(&mut stream)?;
                    discard(&mut stream, u64::from(u16::from_be_bytes([high, low])) * 4)?;
                }
                3 => {
                    read::<9>(&mut stream)?;
                    break;
                }
                4 => discard(&mut stream, 7)?,
                5 => discard(&mut stream, 5)?,
                6 => {
                    let [_, _, _, length @ ..] = read::<7>(&mut stream)?;
                    discard(&mut stream, u64::from(u32::from_be_bytes(length)))?;
                }
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        stream.write_all(&update(format, frame))?;
        thread::sleep(Duration::from_millis(40));
    }
    Ok(())
}

/// Version, security, initialisation: RFC 6143 sections 7.1 to 7.3.
fn handshake(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"RFB 003.008\n")?;
    read::<12>(stream)?;
    stream.write_all(&[1, 1])?; // one security type: None
    read::<1>(stream)?;
    stream.write_all(&[0; 4])?; // SecurityResult: OK
    read::<1>(stream)?; // ClientInit
    let mut init = [WIDTH.to_be_bytes(), HEIGHT.to_be_bytes()].concat();
    init.extend(PixelFormat::OURS);
    init.extend([0, 0, 0, u8::try_from(NAME.len()).unwrap_or(0)]);
    init.extend(NAME);
    stream.write_all(&init)
}

/// A `FramebufferUpdate` of one Raw rectangle: the whole screen, the bars moved by `frame` pixels.
fn update(format: PixelFormat, frame: u16) -> Vec<u8> {
    const BARS: [[u8; 3]; 8] = [
        [255, 255, 255],
        [255, 255, 0],
        [0, 255, 255],
        [0, 255, 0],
        [255, 0, 255],
        [255, 0, 0],
        [0, 0, 255],
        [0, 0, 0],
    ];
    let mut line = Vec::new();
    for x in 0..WIDTH {
        let bar = (x + frame % WIDTH) % WIDTH / (WIDTH / 8);
        format.put(BARS[usize::from(bar) % 8], &mut line);
    }
    let mut out = vec![0, 0, 0, 1, 0, 0, 0, 0];
    out.extend([WIDTH.to_be_bytes(), HEIGHT.to_be_bytes()].concat());
    out.extend([0; 4]);
    out.extend(line.repeat(usize::from(HEIGHT)));
    out
}

fn read<const N: usize>(stream: &mut TcpStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn discard(stream: &mut TcpStream, len: u64) -> io::Result<()> {
    io::copy(&mut stream.take(len), &mut io::sink()).map(drop)
}
