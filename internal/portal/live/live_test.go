package live

import "testing"

func TestOnePrincipalLeavesRoomForOthers(t *testing.T) {
	h := NewHub()
	for range each {
		if _, ok := h.join("a"); !ok {
			t.Fatal("there is no room")
		}
	}
	if _, ok := h.join("a"); ok {
		t.Error("one principal takes more than its part")
	}
	c, ok := h.join("b")
	if !ok {
		t.Fatal("there is no room for another")
	}
	h.leave(c)
	if len(h.all) != each {
		t.Errorf("%d listen", len(h.all))
	}
}
