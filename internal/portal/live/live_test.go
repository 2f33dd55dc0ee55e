package live

import (
	"fmt"
	"testing"
)

func TestOnePrincipalLeavesRoomForOthers(t *testing.T) {
	h := NewHub()
	for i := range each {
		if _, ok := h.join(listener{"a", fmt.Sprint(i / pages)}); !ok {
			t.Fatal("there is no room")
		}
	}
	if _, ok := h.join(listener{"a", "another"}); ok {
		t.Error("one principal takes more than its part")
	}
	c, ok := h.join(listener{"b", "one"})
	if !ok {
		t.Fatal("there is no room for another")
	}
	h.leave(c)
	if len(h.all) != each {
		t.Errorf("%d listen", len(h.all))
	}
}

func TestOneSessionLeavesRoomForOthersOfItsPrincipal(t *testing.T) {
	h := NewHub()
	for range pages {
		if _, ok := h.join(listener{"a", "stolen"}); !ok {
			t.Fatal("there is no room")
		}
	}
	if _, ok := h.join(listener{"a", "stolen"}); ok {
		t.Error("one session takes more than its part")
	}
	if _, ok := h.join(listener{"a", "own"}); !ok {
		t.Error("there is no room for another session")
	}
}
