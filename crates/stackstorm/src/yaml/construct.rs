//! From nodes to a JSON value: merges carried out, aliases repeated, within bounds.

use serde_json::{Map, Value};

use super::nodes::{Content, Node, NodeId, Nodes};
use super::scalar::{self, Tag};
use super::{Error, MAXIMUM_DEPTH, MAXIMUM_TEXT_BYTES, MAXIMUM_VALUES};
use crate::python;

const TOO_MUCH: &str = "with its aliases repeated, the document says more than is read";
const TOO_DEEP: &str = "with its aliases repeated, the document is nested too deep";

/// The value of the document's root; null without one.
pub(super) fn value(nodes: &Nodes) -> Result<Value, Error> {
    let mut constructor =
        Constructor { nodes, values_left: MAXIMUM_VALUES, members_left: MAXIMUM_VALUES, text_left: MAXIMUM_TEXT_BYTES };
    match nodes.root() {
        Some(root) => constructor.value(root, 0),
        None => Ok(Value::Null),
    }
}

struct Constructor<'a> {
    nodes: &'a Nodes,
    values_left: usize,
    /// Members of mappings to look at: merges of merges repeat them before they are values.
    members_left: usize,
    text_left: usize,
}

impl<'a> Constructor<'a> {
    fn value(&mut self, id: NodeId, depth: usize) -> Result<Value, Error> {
        let node = self.nodes.get(id);
        self.spend(node, depth)?;
        match (&node.content, node.tag) {
            (Content::Scalar(text), tag) => scalar::value(tag, text).map_err(|problem| blame(node, problem)),
            (Content::List(items), Tag::List) => {
                items.iter().map(|item| self.value(*item, depth + 1)).collect::<Result<_, _>>().map(Value::Array)
            }
            (Content::Mapping(_), Tag::Mapping) => self.mapping(id, depth),
            (_, Tag::Unknown) => Err(blame(node, "an unknown tag")),
            (_, Tag::NotJson) => Err(blame(node, "sets, ordered mappings, pairs and binary values are not supported")),
            _ => Err(blame(node, "the tag is of another kind of value than what stands here")),
        }
    }

    fn mapping(&mut self, id: NodeId, depth: usize) -> Result<Value, Error> {
        let mut members = Map::new();
        for (key, value) in self.merged(id, depth)? {
            let name = self.key(key, depth)?;
            let value = self.value(value, depth + 1)?;
            members.insert(name, value);
        }
        Ok(Value::Object(members))
    }

    fn key(&mut self, id: NodeId, depth: usize) -> Result<String, Error> {
        let node = self.nodes.get(id);
        if let (Content::Scalar(text), Tag::Default) = (&node.content, node.tag) {
            self.spend(node, depth)?;
            return Ok(text.clone());
        }
        let value = self.value(id, depth + 1)?;
        python::key(&value).ok_or_else(|| blame(node, "a list or a mapping cannot be a key"))
    }

    /// A mapping's members in the order in which they count: what it merges first, its own last.
    fn merged(&mut self, id: NodeId, depth: usize) -> Result<Vec<(NodeId, NodeId)>, Error> {
        let node = self.nodes.get(id);
        let Content::Mapping(members) = &node.content else {
            return Err(blame(node, "`<<` merges a mapping or a list of mappings"));
        };
        let mut merged = Vec::new();
        let mut own = Vec::new();
        if depth > MAXIMUM_DEPTH {
            return Err(blame(node, TOO_DEEP));
        }
        self.members_left = self.members_left.checked_sub(members.len()).ok_or_else(|| blame(node, TOO_MUCH))?;
        for &(key, value) in members {
            if self.nodes.get(key).tag != Tag::Merge {
                own.push((key, value));
                continue;
            }
            match &self.nodes.get(value).content {
                // Of several mappings the first wins, so it comes last.
                Content::List(items) => {
                    for item in items.iter().rev() {
                        merged.append(&mut self.merged(*item, depth + 1)?);
                    }
                }
                _ => merged.append(&mut self.merged(value, depth + 1)?),
            }
        }
        merged.append(&mut own);
        Ok(merged)
    }

    /// Counts a node that is about to be made a value. Aliases of aliases would else grow without end.
    fn spend(&mut self, node: &'a Node, depth: usize) -> Result<(), Error> {
        let text = if let Content::Scalar(text) = &node.content { text.len() } else { 0 };
        let left = self.values_left.checked_sub(1).zip(self.text_left.checked_sub(text));
        let Some((values_left, text_left)) = left else {
            return Err(blame(node, TOO_MUCH));
        };
        if depth > MAXIMUM_DEPTH {
            return Err(blame(node, TOO_DEEP));
        }
        (self.values_left, self.text_left) = (values_left, text_left);
        Ok(())
    }
}

fn blame(node: &Node, problem: &str) -> Error {
    Error::at(node.line, node.column, problem)
}
