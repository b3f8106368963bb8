import assert from 'node:assert/strict';
import { test } from 'node:test';
import { added, finding, problem, quoted, removed, terms, translated } from '../../src/filter/language';

test('terms end at spaces outside of quotes', () => {
  const found = terms('status:error  model:"gpt 4o,x" -gateway:test "out of \\"stock\\"" meta.tenantId=acme cost!=free');
  assert.deepEqual(found.map(({ negated, field, value }) => [negated, field, value]), [
    [false, 'status', 'error'], [false, 'model', '"gpt 4o,x"'], [true, 'gateway', 'test'],
    [false, null, '"out of \\"stock\\""'], [false, 'meta.tenantId', 'acme'], [true, 'cost', 'free'],
  ]);
});

test('the terms of a filter, put together again, are the filter', () => {
  const filter = 'status:error "a  b" -model:gpt-4o* meta."my key":x time:2026-11-22T10:00:00Z';
  assert.equal(terms(filter).map((one) => filter.slice(one.start, one.end)).join(' '), filter);
  assert.equal(terms(filter)[3]?.field, 'meta."my key"');
});

test('a quote that is not closed takes the rest', () => {
  assert.equal(terms('model:"gpt 4o')[0]?.text, 'model:"gpt 4o');
  assert.equal(problem('model:"gpt'), 'The quote is not closed.');
});

test('values that would be read as something else are quoted', () => {
  for (const plain of ['gpt-4o', 'upstream_503', 'a/b:c@1']) assert.equal(quoted(plain), plain);
  for (const [value, text] of [['a b', '"a b"'], ['x,y', '"x,y"'], ['gpt*', '"gpt*"'], ['>5', '">5"'], ['say "hi"', '"say \\"hi\\""'], ['', '""'], ['1..2', '"1..2"']] as const) {
    assert.equal(quoted(value), text);
    assert.equal(terms(`model:${text}`).length, 1);
  }
  assert.equal(finding('model', null), '-model:*');
});

test("Cloudflare's filters are spelled in our language", () => {
  for (const [theirs, ours] of [['success:false', 'status:error'], ['cached:true', 'cache:hit,stale'], ['-cached:true', '-cache:hit,stale'], ['-cached:false', 'cache:hit,stale'], ['event_id:7', 'event:7'], ['status_code:429', 'status:429'], ['model:x', 'model:x'], ['metadata.key:team', 'meta.team:*']] as const) {
    assert.equal(translated(theirs), ours);
  }
});

test('a term more takes the place of its opposite, and comes once', () => {
  assert.equal(added('a:1 -b:2', 'b:2'), 'a:1 b:2');
  assert.equal(added('b:2', 'b:2'), 'b:2');
  assert.equal(added('b:2', '-b:2'), '-b:2');
  assert.equal(removed('a:1 "x y" c:3', 1), 'a:1 c:3');
});

test('what cannot be right is said before the server is asked', () => {
  assert.match(problem('modle:x') ?? '', /no field modle/);
  assert.match(problem('model:') ?? '', /needs a value/);
  for (const fine of ['model:x', 'meta.any:1', 'metadata.any:1', 'op:chat', 'plain', '"a:b"']) assert.equal(problem(fine), null);
});
