//! A connection to the door of another process's nodes, for the pieces of one object at a time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use hurricane_core::frame::{self, Decoder};
use hurricane_core::member::{
    Content, Find, FromDoor, MAX_ADDRESSES, NodePlace, PIECE_BYTES, Piece, Read, ToDoor,
};
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::pull::{Answer, Pieces};
use crate::greeting::{Greeting, GreetingError, Side, greet_scheduler};
use crate::identity::{KeyPair, PublicKey};
use crate::platform::fork::HiddenFromChildren;
use crate::platform::tcp;
use crate::tls::{self, HandshakeError, Pin, Purpose, Secured};

/// How much is read at once: a TLS record or some.
const READ_BYTES: usize = 64 << 10;

/// The largest frame that is taken: the bytes of pieces follow theirs.
const MAX_ANSWER_BYTES: u64 = 256;

/// Of how many addresses a node is dialed: all that it may name, and the one that its scheduler adds.
const MAX_DIALED: usize = MAX_ADDRESSES + 1;

/// How soon a holder is dialed again that has closed the connection: its door takes few handshakes
/// of one device at a time.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// How often.
const MAX_TRIES: u32 = 5;

type Hidden = HiddenFromChildren<TcpStream>;

/// A connection to a holder of objects.
pub(super) struct Line {
    stream: Secured<Hidden>,
    decoder: Decoder,
    /// Questions that were not written yet.
    outgoing: BytesMut,
    is_flushed: bool,
    /// A piece whose bytes have not all come.
    incoming: Option<Incoming>,
    asked: u64,
    heard: u64,
    /// Whether it was of use before: then it may have ended since.
    pub(super) is_used: bool,
}

/// What was said of a piece before its bytes.
struct Incoming {
    request: u64,
    total_bytes: u64,
    bytes: usize,
}

impl Line {
    /// Dials a node at all its addresses at once; the first where it shows its key is taken.
    pub(super) async fn dial(own: &KeyPair, place: &NodePlace, key: PublicKey) -> Option<Self> {
        let config = tls::dialing(own, Pin::Key(key), Purpose::Main);
        let mut dials = JoinSet::new();
        let addresses = place.addresses.iter().filter_map(|text| text.parse().ok());
        for address in addresses.take(MAX_DIALED) {
            dials.spawn_local(reach(address, Arc::clone(&config)));
        }
        while let Some(dialed) = dials.join_next().await {
            if let Ok(Some(stream)) = dialed {
                return Some(Self::over(stream));
            }
        }
        None
    }

    fn over(stream: Secured<Hidden>) -> Self {
        Self {
            stream,
            decoder: Decoder::new(MAX_ANSWER_BYTES),
            outgoing: BytesMut::new(),
            is_flushed: true,
            incoming: None,
            asked: 0,
            heard: 0,
            is_used: false,
        }
    }

    /// The next answer. May be dropped and called again.
    async fn exchange(&mut self) -> io::Result<Option<Answer>> {
        while self.outgoing.has_remaining() {
            self.stream.write_buf(&mut self.outgoing).await?;
        }
        if !self.is_flushed {
            self.stream.flush().await?;
            self.is_flushed = true;
        }
        loop {
            if let Some(answer) = self.next_answer()? {
                return Ok(Some(answer));
            }
            let missing = self.incoming.as_ref().map_or(0, |incoming| incoming.bytes);
            let buffer = self.decoder.buffer();
            buffer.reserve(missing.saturating_sub(buffer.len()).max(READ_BYTES));
            let read = self.stream.read_buf(buffer).await?;
            if read == 0 {
                return Ok(None);
            }
            self.heard += read as u64;
        }
    }

    /// The next answer, if all of it has come.
    fn next_answer(&mut self) -> io::Result<Option<Answer>> {
        if self.incoming.is_none() {
            match self.decoder.next_message().map_err(invalid)? {
                None => return Ok(None),
                Some(FromDoor::Found(found)) => return Ok(Some(Answer::Found(found))),
                Some(FromDoor::Later { request }) => return Ok(Some(Answer::Later { request })),
                Some(FromDoor::Piece { request, content: None }) => {
                    return Ok(Some(Answer::Piece(Piece { request, content: None })));
                }
                Some(FromDoor::Piece { request, content: Some(following) }) => {
                    let bytes = following.bytes as usize;
                    if bytes > PIECE_BYTES {
                        return Err(invalid("a piece is too large"));
                    }
                    let total_bytes = following.total_bytes;
                    self.incoming = Some(Incoming { request, total_bytes, bytes });
                }
            }
        }
        let buffer = self.decoder.buffer();
        let Some(Incoming { request, total_bytes, bytes }) =
            self.incoming.take_if(|incoming| buffer.len() >= incoming.bytes)
        else {
            return Ok(None);
        };
        let bytes: Bytes = buffer.split_to(bytes).freeze();
        let content = Some(Content { total_bytes, bytes });
        Ok(Some(Answer::Piece(Piece { request, content })))
    }

    fn say(&mut self, message: ToDoor) {
        let mut encoded = Vec::new();
        frame::encode(&message, &mut encoded);
        self.outgoing.extend_from_slice(&encoded);
        self.is_flushed = false;
    }
}

fn invalid(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

impl Pieces for Line {
    fn next_request(&mut self) -> u64 {
        self.asked += 1;
        self.asked
    }

    fn ask(&mut self, read: Read) {
        self.say(ToDoor::Read(read));
    }

    fn find(&mut self, find: Find) {
        self.say(ToDoor::Find(find));
    }

    async fn next(&mut self) -> Option<Answer> {
        self.exchange().await.ok().flatten()
    }

    fn heard(&self) -> u64 {
        self.heard
    }
}

/// A connection to one address, if the node with the pinned key answers there.
async fn reach(address: SocketAddr, config: Arc<ClientConfig>) -> Option<Secured<Hidden>> {
    for _ in 0..MAX_TRIES {
        let stream = TcpStream::connect(address).await.ok()?;
        match greeted(stream, Arc::clone(&config)).await {
            Ok(stream) => return Some(stream),
            // Too many came at once.
            Err(GreetingError::Handshake(HandshakeError::Cut(_))) => {
                tokio::time::sleep(RETRY_AFTER).await;
            }
            Err(_) => return None,
        }
    }
    None
}

async fn greeted(
    stream: TcpStream,
    config: Arc<ClientConfig>,
) -> Result<Secured<Hidden>, GreetingError> {
    // Without that it is slower.
    let _ = tcp::prepare(&stream);
    let mut stream = tls::connect(config, HiddenFromChildren::new(stream)).await?;
    greet_scheduler(&mut stream, &Greeting::own(Side::Fetcher, None)).await?;
    Ok(stream)
}
