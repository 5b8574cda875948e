//! The tree that a text's events make: each node once, aliases as further ways to it.

use std::collections::{BTreeMap, BTreeSet};

use granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, Span};

use super::scalar::Tag;
use super::{Error, MAXIMUM_DEPTH, MAXIMUM_VALUES};

/// A document's nodes; the first is its root. Empty for an empty document.
#[derive(Clone)]
pub(super) struct Nodes(Vec<Node>);

/// Which node of [`Nodes`].
pub(super) type NodeId = usize;

#[derive(Clone)]
pub(super) struct Node {
    pub(super) tag: Tag,
    pub(super) content: Content,
    pub(super) line: usize,
    pub(super) column: usize,
}

#[derive(Clone)]
pub(super) enum Content {
    Scalar(String),
    List(Vec<NodeId>),
    Mapping(Vec<(NodeId, NodeId)>),
}

/// The nodes of the only document of `text`.
pub(super) fn compose(text: &str) -> Result<Nodes, Error> {
    let mut options = Options::default();
    options.emit_anchor_events = true;
    options.flow_nesting_limit = MAXIMUM_DEPTH;
    options.block_nesting_limit = MAXIMUM_DEPTH;

    let unended = text.rsplit(['\n', '\r']).next().is_some_and(|last| !last.trim().is_empty());
    let mut composer = Composer { end: unended.then(|| text.chars().count()), ..Composer::default() };
    for step in Parser::new_from_str_with_options(text, options) {
        let (event, span) = step.map_err(|error| scan_error(&error))?;
        composer.take(event, span)?;
    }
    Ok(Nodes(composer.nodes))
}

impl Nodes {
    pub(super) fn root(&self) -> Option<NodeId> {
        (!self.0.is_empty()).then_some(0)
    }

    pub(super) fn get(&self, id: NodeId) -> &Node {
        &self.0[id]
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn line_of(&self, path: &[&str]) -> usize {
        let Some(mut id) = self.root() else { return 1 };
        let mut line = self.get(id).line;
        for step in path {
            let next = match &self.get(id).content {
                Content::Scalar(_) => None,
                Content::List(items) => {
                    step.parse().ok().and_then(|index: usize| items.get(index)).map(|item| (*item, *item))
                }
                // The last of two equal keys counts.
                Content::Mapping(members) => members.iter().rev().find(|(key, _)| self.is_text(*key, step)).copied(),
            };
            let Some((head, value)) = next else { break };
            line = self.get(head).line;
            id = value;
        }
        line
    }

    fn is_text(&self, id: NodeId, text: &str) -> bool {
        matches!(&self.get(id).content, Content::Scalar(scalar) if scalar == text)
    }
}

#[derive(Default)]
struct Composer {
    nodes: Vec<Node>,
    /// The lists and mappings that are not yet closed, outermost first; with a mapping's key that waits for its value.
    open: Vec<(NodeId, Option<NodeId>)>,
    anchors: BTreeMap<usize, NodeId>,
    anchor_names: BTreeSet<String>,
    documents: usize,
    /// Where the text ends, in characters, when its last line does not end.
    end: Option<usize>,
}

impl Composer {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Error> {
        let (line, column) = (span.start.line(), span.start.col() + 1);
        let problem = |text: &str| Err(Error::at(line, column, text));
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return problem("a second document begins: a file holds one");
                }
            }
            Event::Alias(anchor) => {
                let Some(&id) = self.anchors.get(&anchor) else { return problem("an alias of nothing") };
                if self.open.iter().any(|(open, _)| *open == id) {
                    return problem("an alias of the value that it stands in");
                }
                self.put(id);
            }
            Event::Anchor(_, name) if !self.anchor_names.insert(name.to_string()) => {
                return problem("an anchor of this name stands above: each needs its own");
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let untagged = match &tag {
                    None if !plain => Tag::Text,
                    // `! "5"` is five, a mark without a name takes the quotes' meaning away; but `!` alone is text.
                    Some(_) if text.is_empty() || plain && text == "~" && span.is_empty() => Tag::Text,
                    _ => Tag::of_plain(&text),
                };
                let tag = explicit(tag.as_deref(), untagged);
                let mut text = text.into_owned();
                let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
                if block && self.end == Some(span.end.index()) && text.ends_with('\n') {
                    // The line feed that the file lacks is not in the value either.
                    text.pop();
                }
                let content = Content::Scalar(text);
                self.add(Node { tag, content, line, column }, anchor)?;
            }
            Event::SequenceStart(_, anchor, tag) => {
                let tag = explicit(tag.as_deref(), Tag::List);
                let id = self.add(Node { tag, content: Content::List(Vec::new()), line, column }, anchor)?;
                self.enter(id)?;
            }
            Event::MappingStart(_, anchor, tag) => {
                let tag = explicit(tag.as_deref(), Tag::Mapping);
                let id = self.add(Node { tag, content: Content::Mapping(Vec::new()), line, column }, anchor)?;
                self.enter(id)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.open.pop();
            }
            _ => {}
        }
        Ok(())
    }

    fn add(&mut self, node: Node, anchor: usize) -> Result<NodeId, Error> {
        if self.nodes.len() >= MAXIMUM_VALUES {
            let problem = format!("more than {MAXIMUM_VALUES} values");
            return Err(Error::at(node.line, node.column, problem));
        }
        let id = self.nodes.len();
        self.nodes.push(node);
        if anchor != 0 {
            self.anchors.insert(anchor, id);
        }
        self.put(id);
        Ok(id)
    }

    fn enter(&mut self, id: NodeId) -> Result<(), Error> {
        if self.open.len() >= MAXIMUM_DEPTH {
            let node = &self.nodes[id];
            return Err(Error::at(node.line, node.column, format!("nested deeper than {MAXIMUM_DEPTH} levels")));
        }
        self.open.push((id, None));
        Ok(())
    }

    /// Hangs a node into the innermost open list or mapping.
    fn put(&mut self, id: NodeId) {
        let Some((parent, key)) = self.open.last_mut() else { return };
        match (&mut self.nodes[*parent].content, key.take()) {
            (Content::Scalar(_), _) => {}
            (Content::List(items), _) => items.push(id),
            (Content::Mapping(members), Some(key)) => members.push((key, id)),
            (Content::Mapping(_), None) => *key = Some(id),
        }
    }
}

/// What a node's tag makes of it; a `!` without a name makes nothing.
fn explicit(tag: Option<&granit_parser::Tag>, untagged: Tag) -> Tag {
    match tag {
        None => untagged,
        Some(tag) if matches!((tag.handle(), tag.suffix()), ("!", "") | ("", "!")) => untagged,
        Some(tag) => Tag::named(tag.handle(), tag.suffix()),
    }
}

fn scan_error(error: &ScanError) -> Error {
    Error::at(error.marker().line(), error.marker().col() + 1, error.info())
}
