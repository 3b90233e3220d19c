//! Objects that go through the scheduler, a piece at a time: what clients read, and what nodes could
//! not get from each other.

use bytes::Bytes;
use hurricane_core::id::{BootId, ClientId, NodeId, Number, ObjectId};
use hurricane_core::member::{
    Content, FromClient, FromNode, PIECE_BYTES, Piece, Read, ToClient, ToNode,
};

use crate::checks::decode_value;
use crate::client::FutureState;
use crate::cluster::{Place, World};

/// Who asked the scheduler for a piece that a node has, and under which name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    asker: BootId,
    request: u64,
    holder: NodeId,
}

/// What a client or node has of an object that it reads.
#[derive(Debug)]
pub(crate) struct Reading {
    object: ObjectId,
    gathered: Vec<u8>,
}

/// What a client reads.
#[derive(Debug)]
pub(crate) enum Subject {
    /// The value of a task of its own.
    Own(Number, Reading),
    /// What is not its own, and must not come.
    Foreign,
}

impl Reading {
    fn of(object: ObjectId) -> Self {
        Self { object, gathered: Vec::new() }
    }

    fn next(&self, request: u64) -> Read {
        Read { request, object: self.object, offset: self.gathered.len() as u64 }
    }

    /// Takes a piece; whether it was the last.
    fn take(&mut self, content: &Content) -> bool {
        self.gathered.extend_from_slice(&content.bytes);
        assert!(content.bytes.len() <= PIECE_BYTES && !content.bytes.is_empty());
        self.gathered.len() as u64 == content.total_bytes
    }
}

/// The piece of an object at an offset.
fn piece_of(request: u64, bytes: Option<&Bytes>, offset: u64) -> Piece {
    let content = bytes.map(|bytes| {
        let start = usize::try_from(offset).expect("objects are small");
        let end = bytes.len().min(start + PIECE_BYTES);
        Content { total_bytes: bytes.len() as u64, bytes: bytes.slice(start..end) }
    });
    Piece { request, content }
}

/// At the scheduler.
impl World {
    /// Only what is a client's own, or was made in its name, is read for it.
    pub(crate) fn on_client_reads(&mut self, asker: BootId, client: ClientId, read: Read) {
        if self.scheduler.machine.may_read(client, read.object) {
            self.read_for(asker, read);
        } else {
            self.answer(asker, Piece { request: read.request, content: None });
        }
    }

    pub(crate) fn on_node_reads(&mut self, asker: BootId, read: Read) {
        self.read_for(asker, read);
    }

    pub(crate) fn on_piece_at_scheduler(&mut self, piece: Piece) {
        let question = self.scheduler.questions.remove(&piece.request);
        let Question { asker, request, .. } = question.expect("it was asked for it");
        self.answer(asker, Piece { request, ..piece });
    }

    /// A node is lost: what it was asked for does not come.
    pub(crate) fn on_holder_lost(&mut self, node: NodeId) {
        let questions = &mut self.scheduler.questions;
        let lost: Vec<Question> =
            questions.extract_if(.., |_, it| it.holder == node).map(|it| it.1).collect();
        for Question { asker, request, .. } in lost {
            self.answer(asker, Piece { request, content: None });
        }
    }

    fn read_for(&mut self, asker: BootId, read: Read) {
        let Read { request, object, offset } = read;
        let holder = object.node;
        if holder == NodeId::SCHEDULER {
            let piece = piece_of(request, self.scheduler.store.get(&object.number), offset);
            return self.answer(asker, piece);
        }
        let Some(&boot) = self.scheduler.nodes.get(&holder) else {
            return self.answer(asker, Piece { request, content: None });
        };
        self.scheduler.questions_made += 1;
        let own = self.scheduler.questions_made;
        self.scheduler.questions.insert(own, Question { asker, request, holder });
        self.send_from_scheduler(boot, &ToNode::Read(Read { request: own, ..read }));
    }

    fn answer(&mut self, asker: BootId, piece: Piece) {
        match self.scheduler.place_of(asker) {
            Some(Place::Client(_)) => self.send_from_scheduler(asker, &ToClient::Piece(piece)),
            Some(_) => self.send_from_scheduler(asker, &ToNode::Piece(piece)),
            None => {}
        }
    }
}

/// At nodes.
impl World {
    pub(crate) fn on_read_at_node(&mut self, index: usize, read: Read) {
        let bytes = self.nodes[index].store.get(&read.object);
        let piece = piece_of(read.request, bytes, read.offset);
        self.send_from_node(index, &FromNode::Piece(piece));
    }

    /// A copy could not be had from its holder itself.
    pub(crate) fn fetch_through_scheduler(&mut self, index: usize, object: ObjectId) {
        let node = &mut self.nodes[index];
        node.readings_made += 1;
        let (request, reading) = (node.readings_made, Reading::of(object));
        let read = reading.next(request);
        node.readings.insert(request, reading);
        self.send_from_node(index, &FromNode::Read(read));
    }

    pub(crate) fn on_piece_at_node(&mut self, index: usize, piece: &Piece) {
        let readings = &mut self.nodes[index].readings;
        let reading = readings.get_mut(&piece.request).expect("it asked for it");
        let object = reading.object;
        let Some(content) = &piece.content else {
            readings.remove(&piece.request);
            return self.end_fetch(index, object, None);
        };
        if !reading.take(content) {
            let read = reading.next(piece.request);
            return self.send_from_node(index, &FromNode::Read(read));
        }
        let whole = readings.remove(&piece.request).map(|it| Bytes::from(it.gathered));
        self.end_fetch(index, object, whole);
    }
}

/// At clients.
impl World {
    /// A client reads the stored result of a task, unless it does.
    pub(crate) fn read_result(&mut self, index: usize, number: Number) {
        let client = &mut self.clients[index];
        let reads_it = |it: &Subject| matches!(it, Subject::Own(other, _) if *other == number);
        if client.readings.values().any(reads_it) {
            return;
        }
        let FutureState::Done(Some(stored)) = client.futures[&number].state else { return };
        let reading = Reading::of(stored.object);
        let read = reading.next(client.next_request());
        client.readings.insert(read.request, Subject::Own(number, reading));
        self.send_from_client(index, &FromClient::Read(read));
    }

    /// A client tries to read what belongs to another.
    pub(crate) fn read_foreign(&mut self, index: usize) {
        let others = self.clients.iter().enumerate().filter(|(other, _)| *other != index);
        let futures = others.flat_map(|(_, other)| other.futures.values());
        let objects = futures.filter_map(|future| match future.state {
            FutureState::Done(Some(stored)) => Some(stored.object),
            _ => None,
        });
        let objects: Vec<ObjectId> = objects.collect();
        let Some(object) = self.dice.pick_if_any(&objects) else { return };
        let client = &mut self.clients[index];
        let read = Reading::of(object).next(client.next_request());
        client.readings.insert(read.request, Subject::Foreign);
        self.send_from_client(index, &FromClient::Read(read));
    }

    pub(crate) fn on_piece_at_client(&mut self, index: usize, piece: &Piece) {
        let client = &mut self.clients[index];
        let subject = client.readings.remove(&piece.request).expect("it asked for it");
        let (Subject::Own(number, mut reading), Some(content)) = (subject, &piece.content) else {
            return assert!(piece.content.is_none(), "client {index} reads what is not its own");
        };
        if !reading.take(content) {
            let read = reading.next(piece.request);
            client.readings.insert(piece.request, Subject::Own(number, reading));
            return self.send_from_client(index, &FromClient::Read(read));
        }
        // It may have been released meanwhile, or lost and made again.
        let Some(future) = client.futures.get_mut(&number) else { return };
        let (value, _) = decode_value(&Bytes::from(reading.gathered));
        assert_eq!(value, future.value, "of {:?}", future.key);
        future.state = FutureState::Done(None);
    }
}
