package managed_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/identity/managed"
	"github.com/latchkey/latchkey/internal/problem"
)

func TestTypesOfBlocksHaveOneSpelling(t *testing.T) {
	for said, want := range map[string]string{
		"": "None", "none": "None", "systemassigned": "SystemAssigned", "USERASSIGNED": "UserAssigned",
		"SystemAssigned,UserAssigned": "SystemAssigned, UserAssigned", "userAssigned , systemAssigned": "SystemAssigned, UserAssigned",
	} {
		next, err := managed.Next(nil, json.RawMessage(fmt.Sprintf(`{"type":%q,"userAssignedIdentities":{"%su-1":{}}}`, said, userAt)), false)
		b, parseErr := managed.Parse(next)
		if err := errors.Join(err, parseErr); err != nil || b.Type != want || (b.Spelled(strings.ToUpper(userAt+"u-1")) == "") == b.User() {
			t.Errorf("%q becomes %s, %v", said, next, err)
		}
	}
}

func TestBlocksThatCannotBe(t *testing.T) {
	many := make([]string, managed.MaxAssigned+1)
	for i := range many {
		many[i] = fmt.Sprintf("u%d", i)
	}
	for _, tt := range []struct{ said, text string }{
		{`{"type":"Mine"}`, "'identity.type'"},
		{`{"type":5}`, "'identity.type' must not be of type number"},
		{`[]`, "'identity' must not be of type array"},
		{`{`, "'identity' is not JSON"},
		{`{"type":"UserAssigned"}`, "names none"},
		{`{"type":"UserAssigned","userAssignedIdentities":[]}`, "'identity.userAssignedIdentities' must not be of type array"},
		{`{"type":"UserAssigned","userAssignedIdentities":{"/x":{}}}`, "'identity.userAssignedIdentities'"},
		{`{"type":"UserAssigned","userAssignedIdentities":{"` + siteAt + `":{}}}`, "'identity.userAssignedIdentities'"},
		{assignedTo(many...), "more than 200"},
	} {
		if _, err := managed.Next(nil, json.RawMessage(tt.said), false); !errors.Is(err, problem.Invalid) || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%.80s: %v", tt.said, err)
		}
	}
	if _, err := managed.Next(json.RawMessage(`[]`), json.RawMessage(`{}`), false); !errors.Is(err, problem.Undecryptable) {
		t.Errorf("a damaged block: %v", err)
	}
	if next, err := managed.Next(json.RawMessage(`{"type":"None"}`), nil, true); next != nil || err != nil {
		t.Errorf("nothing said: %s, %v", next, err)
	}
}

func FuzzNext(f *testing.F) {
	f.Add(`{"type":"SystemAssigned","principalId":"p"}`, `{"type":"None"}`, true)
	f.Add(assignedTo("u-1", "u-2"), `{"userAssignedIdentities":{"`+userAt+`U-1":null,"`+userAt+`u-3":{}}}`, true)
	f.Add(assignedTo("u-1"), strings.Replace(assignedTo("u-2"), "{}", `{"principalId":"forged"}`, 1), false)
	f.Fuzz(func(t *testing.T, old, said string, patch bool) {
		stored, err := managed.Next(nil, json.RawMessage(old), false)
		if err != nil {
			stored = nil
		}
		next, err := managed.Next(stored, json.RawMessage(said), patch)
		if err != nil {
			if k := problem.KindOf(err); k != problem.Invalid {
				t.Fatalf("kind %v: %v", k, err)
			}
			return
		}
		b, err := managed.Parse(next)
		if err != nil {
			t.Fatalf("%s cannot be read: %v", next, err)
		}
		for _, binding := range b.Assigned {
			if binding != nil && binding.PrincipalID != nil {
				t.Fatalf("%s has an id of the client's", next)
			}
		}
		again, err := managed.Next(next, next, false)
		if err != nil || string(again) != string(next) {
			t.Fatalf("%s sent again becomes %s, %v", next, again, err)
		}
	})
}
