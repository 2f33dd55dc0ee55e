package expression

import "testing"

// The expected values are what Azure gives for these inputs.
func TestHashesAreAzures(t *testing.T) {
	for _, tt := range []struct {
		want string
		of   []string
	}{
		{"rbgf3xv4ufgzg", []string{"test"}},
		{"a7wkljktk6wne", []string{"hello", "world"}},
		{"cgtzqvhu4i23s", []string{"abc"}},
		{"bmg7c6xu4tw46", []string{"/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/my-rg"}},
		{"xzi4ioaxtmth4", []string{"foo", "bar", "baz"}},
	} {
		if got := UniqueString(tt.of...); got != tt.want {
			t.Errorf("uniqueString of %q is %q, not %q", tt.of, got, tt.want)
		}
	}
	// Version 5 of the name "a-b" in Azure's namespace, as any UUID library makes it.
	if got := GUID("a", "b"); got != GUID("a-b") || got[14] != '5' {
		t.Errorf("guid gives %q", got)
	}
}
