package identity

// Assigned is an identity that an app may use.
type Assigned struct {
	System     bool   // the app's own, which dies with it
	ResourceID string // of the app for its own identity, of the identity otherwise
	ObjectID   string // "" for an identity that was deleted and is still assigned
	AppID      string
	Epoch      int64
}

// Dangling reports whether the identity is assigned but exists no longer.
func (a Assigned) Dangling() bool { return a.ObjectID == "" }
